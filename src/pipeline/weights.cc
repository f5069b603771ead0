#include "pipeline/weights.h"

#include <algorithm>
#include <system_error>

#include "format/onnx/weights.h"
#include "model/gguf/open.h"
#include "model/onnx/loader.h"
#include "pipeline/weights_checkpoint.h"
#include "pipeline/weights_gguf.h"
#include "pipeline/weights_mlx.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

bool is_genai(const fs::path& path) {
  std::error_code status;
  return fs::is_regular_file(path / "genai_config.json", status);
}

bool is_anything(const fs::path&) { return true; }

Result<ModelWeights> open_onnx(const fs::path& path, const WeightsOptions& options) {
  PHIQUANT_ASSIGN(const OnnxModel model, load_onnx(path, {options.follow_symlinks}));
  ModelWeights out;
  out.path = path;
  out.format = "onnx";
  out.weights = onnx_weights(model);
  for (NamedWeight& weight : out.weights) weight.key = weight_key_of_name(weight.source.name);
  out.files = model.files;
  out.size_bytes = model.input_bytes;
  return out;
}

Result<ModelWeights> open_genai(const fs::path& path, const WeightsOptions& options) {
  PHIQUANT_ASSIGN(ModelWeights out, open_onnx(path, options));
  out.format = "genai";
  return out;
}

// Formats whose folders look like a checkpoint stand before it.
constexpr WeightsReader kReaders[] = {
    {"mlx", looks_like_mlx, open_mlx_weights},
    {"checkpoint", looks_like_checkpoint, open_checkpoint_weights},
    {"gguf", looks_like_gguf, open_gguf_weights},
    {"genai", is_genai, open_genai, true},
    {"onnx", is_anything, open_onnx, true},
};

}  // namespace

std::span<const WeightsReader> weights_readers() { return kReaders; }

const WeightsReader& weights_reader(const fs::path& path) {
  return *std::find_if(std::begin(kReaders), std::end(kReaders) - 1,
                       [&](const WeightsReader& reader) { return reader.matches(path); });
}

Result<ModelWeights> open_weights(const fs::path& path, const WeightsOptions& options) {
  return weights_reader(path).open(path, options);
}

}  // namespace phiquant
