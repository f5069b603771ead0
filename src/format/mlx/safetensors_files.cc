#include "format/mlx/safetensors_files.h"

#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "wire/safetensors.h"

namespace phiquant::format {
namespace {

using json = nlohmann::ordered_json;

// Places the tensors behind a header; sets their offsets. Returns the file.
OutFile make_file(std::string name, Plan& plan, TensorId first, TensorId end) {
  json header = {{std::string(kSafetensorsMetadataKey), {{"format", "mlx"}}}};
  uint64_t at = 0;
  for (TensorId i = first; i < end; ++i) {
    OutTensor& t = plan.tensors[i];
    t.offset = at;
    at += t.size_bytes;
    header[t.name] = {{"dtype", safetensors_from_dtype(t.dtype)},
                      {"shape", t.shape},
                      {"data_offsets", {t.offset, at}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes(kSafetensorsPrefixBytes, '\0');
  for (size_t i = 0; i < kSafetensorsPrefixBytes; ++i)
    bytes[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  bytes += text;
  for (TensorId i = first; i < end; ++i) {
    plan.tensors[i].offset += bytes.size();
    plan.tensors[i].file = static_cast<uint32_t>(plan.files.size());
  }
  const uint64_t size = bytes.size() + at;
  return {std::move(name), size, {{0, std::move(bytes)}}};
}

// The first tensor of each file, and the end of the last one.
std::vector<TensorId> cut(const Plan& plan, uint64_t max_bytes) {
  std::vector<TensorId> starts;
  uint64_t size = 0;
  for (TensorId i = 0; i < plan.tensors.size(); ++i) {
    const uint64_t bytes = plan.tensors[i].size_bytes;
    if (starts.empty() || bytes > max_bytes || size > max_bytes - bytes) {
      starts.push_back(i);
      size = 0;
    }
    size += bytes;
  }
  starts.push_back(static_cast<TensorId>(plan.tensors.size()));
  return starts;
}

}  // namespace

void lay_out_safetensors(Plan& plan, uint64_t max_bytes, uint64_t total_parameters) {
  const std::vector<TensorId> starts = cut(plan, max_bytes);
  const size_t n_files = starts.size() - 1;
  std::map<std::string, std::string> places;
  uint64_t total_size = 0;
  for (size_t f = 0; f < n_files; ++f) {
    const std::string name =
        n_files == 1 ? "model.safetensors"
                     : fmt::format("model-{:05d}-of-{:05d}.safetensors", f + 1, n_files);
    plan.files.push_back(make_file(name, plan, starts[f], starts[f + 1]));
    for (TensorId i = starts[f]; i < starts[f + 1]; ++i) {
      places[plan.tensors[i].name] = name;
      total_size += plan.tensors[i].size_bytes;
    }
  }
  const json index = {
      {"metadata", {{"total_size", total_size}, {"total_parameters", total_parameters}}},
      {"weight_map", places}};
  std::string text = index.dump(4);
  const uint64_t size = text.size();
  plan.files.push_back({"model.safetensors.index.json", size, {{0, std::move(text)}}});
}

}  // namespace phiquant::format
