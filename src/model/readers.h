// The one table of inputs: what quantize, inspect and compare open. A new input format is a file
// that reads it and a row in readers.cc; where it opens as something new, an alternative of Model.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>
#include <variant>

#include "model/checkpoint.h"
#include "phiquant/error.h"
#include "phiquant/options.h"
#include "wire/gguf_model.h"
#include "wire/onnx_payload.h"

namespace phiquant {

// Whoever takes a model visits all alternatives: a further one does not compile until each of them
// handles it.
using Model = std::variant<Checkpoint, GgufModel, OnnxModel>;
// The same before a model is opened, in the same order.
enum class ModelKind : uint8_t { checkpoint, gguf, onnx };

struct Reader {
  std::string_view name;  // what inspect calls the format
  ModelKind kind;
  // Whether the path is of that format: a look at names, at most at the first bytes of a file and
  // at config.json.
  bool (*matches)(const std::filesystem::path&);
  // Reads headers only. Errors: those of open_checkpoint, open_gguf and load_onnx.
  Result<Model> (*open)(const SourceOptions&);
};

// In the order in which they are asked; the last one, ONNX, takes whatever no other does.
std::span<const Reader> readers();

const Reader& reader_of(const std::filesystem::path& path);

// The files that were opened.
const std::vector<std::filesystem::path>& files_of(const Model& model);

}  // namespace phiquant
