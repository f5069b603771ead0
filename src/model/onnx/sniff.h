// Recognizes files that are not ONNX, by their first bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace phiquant {

// What the file is and what to try, such as "this is a Git LFS pointer, not the model (run `git lfs
// pull`)"; nullopt where it may be an ONNX model. `head`: at least the first 64 bytes, or all of a
// shorter file.
std::optional<std::string> not_onnx_because(std::span<const std::byte> head);

}  // namespace phiquant
