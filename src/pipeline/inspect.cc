// `phiquant inspect`: what a model holds, from its headers.
#include <string>
#include <string_view>
#include <utility>

#include "core/overload.h"
#include "phiquant/phiquant.h"
#include "pipeline/inspect_onnx.h"
#include "pipeline/inspect_use.h"
#include "pipeline/weights.h"

namespace phiquant {

std::string quantizable(DType dtype, Use use) {
  std::string out;
  const auto add = [&](std::string_view name) {
    if (!out.empty()) out += ' ';
    out += name;
  };
  if (use == Use::codes) return "fp16 bf16 fp32";
  if (!is_weight_float(dtype)) return out;
  if (use == Use::blocks) add("int4");
  if (use == Use::blocks || use == Use::conv) add("int8");
  if (dtype != DType::f16) add("fp16");
  if (dtype != DType::bf16) add("bf16");
  if (dtype != DType::f32) add("fp32");
  return out;
}

namespace {

// Roles whose weights `phiquant quantize` gives fewer bits. A router picks experts: it stays float.
bool is_quantized_role(const WeightKey& key) {
  switch (key.role) {
    case Role::attn_norm:
    case Role::mlp_norm:
    case Role::final_norm:
    case Role::router:
    case Role::ignored:
      return false;
    default:
      return !key.bias;
  }
}

InspectReport inspect_weights(const ModelWeights& model) {
  InspectReport report;
  report.path = model.path.string();
  report.format = model.format;
  report.properties = model.properties;
  report.warnings = model.warnings;
  report.size_bytes = model.size_bytes;
  for (const NamedWeight& w : model.weights) {
    InspectTensor t{w.source.name,
                    w.description,
                    w.shape,
                    w.size_bytes,
                    w.location,
                    w.key ? std::string(role_name(w.key->role)) : w.used_by,
                    ""};
    const auto* dense = std::get_if<DenseStorage>(&w.source.storage);
    const DType dtype = dense && w.description == dtype_name(dense->data.dtype) ? dense->data.dtype
                                                                                : DType::undefined;
    // What is quantized already, or has another format than those that are read, stays as it is.
    if (model.format == "checkpoint" && w.key)
      t.quantizable = quantizable(dtype, is_quantized_role(*w.key) ? Use::blocks : Use::other);
    report.tensors.push_back(std::move(t));
  }
  return report;
}

}  // namespace

Result<InspectReport> inspect(const std::filesystem::path& path, bool follow_symlinks) {
  const Reader& reader = reader_of(path);
  PHIQUANT_ASSIGN(const Model model, open_for_reading(reader, path, follow_symlinks));
  const auto weights = [&]() -> Result<InspectReport> {
    PHIQUANT_ASSIGN(const ModelWeights found, weights_of(model, reader, path));
    return inspect_weights(found);
  };
  return std::visit(Overload{[&](const Checkpoint&) { return weights(); },
                             [&](const GgufModel&) { return weights(); },
                             [&](const OnnxModel& graph) -> Result<InspectReport> {
                               InspectReport report = inspect_onnx(graph);
                               report.format = reader.name;
                               return report;
                             }},
                    model);
}

}  // namespace phiquant
