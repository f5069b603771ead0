#include "pipeline/weights.h"

#include <utility>

#include "format/onnx/weights.h"

namespace phiquant {

NamedWeight dense_weight(SourceTensor tensor, std::optional<WeightKey> key) {
  NamedWeight out;
  const bool is_vector = tensor.shape.size() == 1;
  uint64_t n = tensor.shape.empty() ? 1 : tensor.shape[0], k = 1;
  for (size_t i = 1; i < tensor.shape.size(); ++i) k *= tensor.shape[i];
  if (is_vector) k = 1;
  out.shape = tensor.shape;
  out.size_bytes = tensor.bytes->size_bytes();
  out.description = std::string(dtype_name(tensor.dtype));
  out.key = key;
  std::string name = tensor.name;
  out.source = {std::move(name), k, n, DenseStorage{std::move(tensor), Orientation::nk}};
  return out;
}

Result<ModelWeights> weights_of(const OnnxModel& model) {
  ModelWeights out;
  out.weights = onnx_weights(model);
  for (NamedWeight& weight : out.weights) weight.key = weight_key_of_name(weight.source.name);
  out.files = model.files;
  out.size_bytes = model.input_bytes;
  return out;
}

Result<Model> open_for_reading(const Reader& reader, const std::filesystem::path& path,
                               bool follow_symlinks) {
  return reader.open({path, follow_symlinks, true, MergeLora::none});
}

Result<ModelWeights> weights_of(const Model& model, const Reader& reader,
                                const std::filesystem::path& path) {
  PHIQUANT_ASSIGN(ModelWeights out, std::visit([](const auto& m) { return weights_of(m); }, model));
  out.path = path;
  out.format = reader.name;
  return out;
}

Result<ModelWeights> open_weights(const std::filesystem::path& path, bool follow_symlinks) {
  const Reader& reader = reader_of(path);
  PHIQUANT_ASSIGN(const Model model, open_for_reading(reader, path, follow_symlinks));
  return weights_of(model, reader, path);
}

}  // namespace phiquant
