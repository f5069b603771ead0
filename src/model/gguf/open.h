// Opens a GGUF model: one file, or any part of a split one with all the others beside it.
#pragma once

#include <filesystem>

#include "phiquant/error.h"
#include "wire/gguf_model.h"

namespace phiquant {

// Whether the path is a file that begins as GGUF files do, or is named .gguf.
bool looks_like_gguf(const std::filesystem::path& path);

// Reads headers only. `floats` says how tensors are decoded; null: GgufTensor::floats stays empty.
// Errors: io (missing parts, named) · those of parse_gguf_header · corrupt (parts that do not
// belong together; a tensor in two of them).
Result<GgufModel> open_gguf(const std::filesystem::path& path, GgufFloats floats = nullptr);

}  // namespace phiquant
