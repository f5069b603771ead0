// onnx_weights: a model's 2-D weights as floats. The dequantizing rewrite runs on a copy of the
// structure, so that whatever it understands can be judged, under the names that the float model
// had.
#include <set>

#include <fmt/format.h>

#include "format/onnx_decode.h"
#include "format/onnx_rewrite.h"

namespace phiquant {
namespace {

using namespace format;

std::string describe(const WeightSource& source) {
  const auto* blocks = std::get_if<BlockStorage>(&source.storage);
  if (!blocks) return std::string(dtype_name(std::get<DenseStorage>(source.storage).data.dtype));
  const std::string type = fmt::format("int{}", blocks->bits);
  if (blocks->column_group > 1 && blocks->column_group == source.n) return type + " per tensor";
  if (blocks->block_size >= source.k) return type + " per channel";
  return fmt::format("{} block {}", type, blocks->block_size);
}

}  // namespace

std::vector<NamedWeight> onnx_weights(const OnnxModel& model) {
  const QuantizeOptions options;
  const OnnxPlanExtras extras;
  Editor editor(model, options, extras);
  rewrite_dequantize(editor, [](const QuantizedWeight&) { return true; });
  std::vector<NamedWeight> out;
  std::set<const onnx::TensorProto*> seen;
  for (const Candidate& c : find_candidates(*editor.index)) {
    if (!seen.insert(c.weight.tensor).second) continue;
    auto source = weight_source(editor, c.weight, c.nk);
    if (!source && c.weight.shape.size() == 2) source = weight_source(editor, c.weight, !c.nk);
    if (!source) continue;
    std::string description = describe(*source);
    source->name = c.weight.base;
    out.push_back({std::move(*source), c.node->op_type(), std::move(description)});
  }
  return out;
}

}  // namespace phiquant
