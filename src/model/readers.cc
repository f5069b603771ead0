#include "model/readers.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "model/checkpoint/mlx_weights.h"
#include "model/gguf/open.h"
#include "model/onnx/loader.h"
#include "quant/ggml/gguf_floats.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

bool is_genai(const fs::path& path) {
  std::error_code status;
  return fs::is_regular_file(path / "genai_config.json", status);
}

bool is_anything(const fs::path&) { return true; }

bool is_gguf(const fs::path& path) { return looks_like_gguf(path); }

Result<Model> checkpoint(const SourceOptions& o) {
  PHIQUANT_ASSIGN(Checkpoint out,
                  open_checkpoint(o.path, {o.follow_symlinks, o.text_only, o.merge_lora}));
  return Model(std::move(out));
}

Result<Model> gguf(const SourceOptions& o) {
  PHIQUANT_ASSIGN(GgufModel out, open_gguf(o.path, gguf_floats));
  return Model(std::move(out));
}

Result<Model> onnx(const SourceOptions& o) {
  PHIQUANT_ASSIGN(OnnxModel out, load_onnx(o.path, {o.follow_symlinks}));
  return Model(std::move(out));
}

// Formats whose folders look like a checkpoint stand before it.
constexpr Reader kReaders[] = {
    {"mlx", ModelKind::checkpoint, looks_like_mlx, checkpoint},
    {"checkpoint", ModelKind::checkpoint, looks_like_checkpoint, checkpoint},
    {"gguf", ModelKind::gguf, is_gguf, gguf},
    {"genai", ModelKind::onnx, is_genai, onnx},
    {"onnx", ModelKind::onnx, is_anything, onnx},
};

}  // namespace

std::span<const Reader> readers() { return kReaders; }

const Reader& reader_of(const fs::path& path) {
  return *std::find_if(std::begin(kReaders), std::end(kReaders) - 1,
                       [&](const Reader& reader) { return reader.matches(path); });
}

const std::vector<fs::path>& files_of(const Model& model) {
  return std::visit([](const auto& m) -> const std::vector<fs::path>& { return m.files; }, model);
}

}  // namespace phiquant
