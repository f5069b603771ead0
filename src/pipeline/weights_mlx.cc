#include "pipeline/weights_mlx.h"

#include <map>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "model/checkpoint/folder.h"
#include "model/checkpoint/json_reader.h"
#include "pipeline/weights_checkpoint.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 4'000'000;

using Entries = std::map<std::string, SafetensorsEntry>;

// "affine4 group 64", and the bytes of all parts.
void describe(const Entries& entries, NamedWeight& weight) {
  const std::string& name = weight.source.name;
  const std::string tensor = name.substr(0, name.find('['));
  const auto codes = entries.find(tensor);
  if (codes == entries.end() || codes->second.dtype != DType::u32) return;
  const std::string path = tensor.substr(0, tensor.rfind('.'));
  const auto scales = entries.find(path + ".scales"), biases = entries.find(path + ".biases");
  if (scales == entries.end() || scales->second.shape.back() == 0) return;
  const uint64_t k = weight.source.k, bits = codes->second.shape.back() * 32 / k,
                 group = k / scales->second.shape.back();
  weight.description = biases != entries.end() ? fmt::format("affine{} group {}", bits, group)
                       : bits == 8             ? "mxfp8"
                       : group == 16           ? "nvfp4"
                                               : "mxfp4";
  uint64_t size = codes->second.end - codes->second.begin;
  for (const auto& part : {scales, biases})
    if (part != entries.end()) size += part->second.end - part->second.begin;
  const bool is_expert = tensor.size() != name.size();
  weight.size_bytes = is_expert ? size / codes->second.shape[0] : size;
}

}  // namespace

bool looks_like_mlx(const fs::path& path) {
  if (!looks_like_checkpoint(path)) return false;
  CheckpointFolder folder(path, true);
  const auto text = folder.read_text("config.json", kMaxConfigBytes);
  if (!text) return false;
  const auto config = parse_json("config.json", *text);
  if (!config || !config->is_object()) return false;
  const auto section = config->find("quantization");
  return section != config->end() && section->is_object() && section->contains("bits");
}

Result<ModelWeights> open_mlx_weights(const fs::path& path, const WeightsOptions& options) {
  PHIQUANT_ASSIGN(ModelWeights out, open_checkpoint_weights(path, options));
  out.format = "mlx";
  CheckpointFolder folder(path, options.follow_symlinks);
  std::vector<std::string> said_already;
  PHIQUANT_ASSIGN(auto found, find_tensors(folder, said_already));
  Entries entries;
  for (FoundTensor& tensor : found) entries.emplace(tensor.entry.name, std::move(tensor.entry));
  for (NamedWeight& weight : out.weights) describe(entries, weight);
  for (auto& [name, value] : out.properties)
    if (name == "weights") value = "quantized by MLX";
  return out;
}

}  // namespace phiquant
