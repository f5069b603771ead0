// onnx_weights: a model's weights as floats. The dequantizing rewrite runs on a copy of the
// structure, so that whatever it understands can be judged, under the names that the float model
// had.
#include <set>

#include <fmt/format.h>

#include "format/onnx/decode.h"
#include "format/onnx/rewrite.h"
#include "format/onnx/weights.h"
#include "model/weights.h"

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

uint64_t stored_bytes(const WeightSource& source) {
  if (const auto* dense = std::get_if<DenseStorage>(&source.storage))
    return dense->data.bytes->size_bytes();
  const auto& blocks = std::get<BlockStorage>(source.storage);
  return blocks.codes.bytes->size_bytes() + blocks.scales.bytes->size_bytes() +
         (blocks.zero_points ? blocks.zero_points->bytes->size_bytes() : 0);
}

// As the file has it where it has it as one tensor; otherwise K x N.
Shape float_shape(const WeightSource& w) {
  if (const auto* dense = std::get_if<DenseStorage>(&w.storage)) return dense->data.shape;
  const auto& blocks = std::get<BlockStorage>(w.storage);
  return blocks.packing == Packing::nbits ? Shape{w.k, w.n} : blocks.codes.shape;
}

// Operators whose float inputs are scales of codes, where those codes could not be read.
bool takes_codes(const onnx::NodeProto& node) {
  for (const char* op : {"MatMulNBits", "GatherBlockQuantized", "QMoE", "DequantizeLinear"})
    if (node.op_type() == op) return true;
  return false;
}

// Norms and biases: float initializers of one dimension that some node reads.
void add_vectors(Editor& editor, std::vector<NamedWeight>& out) {
  Scope& main = editor.index->main();
  for (const auto& tensor : main.graph->initializer()) {
    const DType dtype = dtype_from_onnx(tensor.data_type());
    const auto& uses = GraphIndex::uses(main, tensor.name());
    if (tensor.dims_size() != 1 || tensor.dims(0) < 2 || !is_weight_float(dtype) ||
        editor.decoded(tensor) || uses.empty() || takes_codes(*uses.front().node))
      continue;
    SourceTensor data = editor.source(tensor);
    const uint64_t n = data.shape[0];
    NamedWeight weight;
    weight.shape = data.shape;
    weight.size_bytes = data.bytes->size_bytes();
    weight.source = {tensor.name(), 1, n, DenseStorage{std::move(data), Orientation::nk}};
    weight.used_by = uses.front().node->op_type();
    weight.description = std::string(dtype_name(dtype));
    out.push_back(std::move(weight));
  }
}

}  // namespace

std::vector<NamedWeight> onnx_weights(const OnnxModel& model) {
  const Request options;
  const Evidence evidence;
  Editor editor(model, options, evidence);
  rewrite_dequantize(editor, [](const QuantizedWeight&) { return true; });
  std::vector<NamedWeight> out;
  std::set<const onnx::TensorProto*> seen;
  for (const Candidate& c : find_candidates(*editor.index)) {
    if (takes_codes(*c.node) || !seen.insert(c.weight.tensor).second) continue;
    auto source = weight_source(editor, c.weight, c.nk);
    if (!source && c.weight.shape.size() == 2) source = weight_source(editor, c.weight, !c.nk);
    if (!source) continue;
    std::string description = describe(*source);
    source->name = c.weight.base;
    NamedWeight weight;
    weight.shape = float_shape(*source);
    weight.size_bytes = stored_bytes(*source);
    weight.source = std::move(*source);
    weight.used_by = c.node->op_type();
    weight.description = std::move(description);
    out.push_back(std::move(weight));
  }
  add_expert_weights(editor, out);
  add_vectors(editor, out);
  return out;
}

}  // namespace phiquant
