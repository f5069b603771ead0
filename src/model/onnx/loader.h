// Opens an ONNX model: structure only, every tensor checked against the bytes that back it.
#pragma once

#include <filesystem>

#include "phiquant/error.h"
#include "wire/onnx_payload.h"

namespace phiquant {

struct OnnxLoadOptions {
  bool follow_symlinks = false;  // accept links that leave the model's folder (those of a Hugging
                                 // Face cache always work)
};

// `path`: a .onnx file, or a folder holding exactly one (model.onnx is preferred where there are
// several). Errors: io · corrupt · unsupported (dtype, opset beyond the library's). Messages as in
// docs/cli.md.
Result<OnnxModel> load_onnx(const std::filesystem::path& path, const OnnxLoadOptions& options = {});

}  // namespace phiquant
