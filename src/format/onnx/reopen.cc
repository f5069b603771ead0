#include "format/onnx/reopen.h"

#include <fmt/format.h>

#include "format/draft.h"
#include "format/onnx/rewrite.h"
#include "format/onnx/slots.h"

namespace phiquant::format {
namespace {

Layout layout_of(const QuantizedWeight& w) {
  if (w.node.op_type() == "MatMulNBits") return Layout::nbits;
  if (w.node.op_type() == "GatherBlockQuantized") return Layout::gather;
  if (w.node.op_type() == "MatMulInteger" || w.node.op_type() == "ConvInteger")
    return Layout::dynamic;
  return w.storage().block_size < w.source.k ? Layout::qdq_blocks : Layout::qdq_int8;
}

// Whether a weight is already what the request would make of it with `bits`: another round of the
// same kind would only add its rounding to the first's. What the request leaves open, the weight's
// own way decides.
bool as_asked(const QuantizedWeight& w, const IntegerSettings& s, const Request& o, unsigned bits) {
  const BlockStorage& storage = w.storage();
  if (storage.bits != bits) return false;
  if (o.recipe.block_size && storage.block_size != *o.recipe.block_size) return false;
  if (o.recipe.symmetric && *o.recipe.symmetric == storage.zero_points.has_value()) return false;
  if (o.recipe.scheme.empty() && !o.recipe.search && o.output.onnx.style == Style::contrib)
    return true;
  if (layout_of(w) != s.linear || (s.kernel && storage.block_size != s.block_size)) return false;
  if (!s.kernel) return s.per_channel == (storage.column_group == 1);
  const bool float_zeros = storage.zero_points && is_weight_float(storage.zero_points->dtype);
  return s.symmetric == !storage.zero_points &&
         float_zeros == (s.kernel->float_zero_points && bits == s.bits);
}

// The codes as a slot: what it is, and what globs match.
Slot slot_of(const QuantizedWeight& w, const onnx::NodeProto* head) {
  const onnx::NodeProto& node = w.reader ? *w.reader : w.node;
  const SourceTensor& codes = w.storage().codes;
  const std::string& op = node.op_type();
  Slot slot;
  slot.tensor = w.weight;
  slot.node = node.name();
  slot.names = {node.name(), w.node.name()};
  slot.shape = codes.shape;
  slot.k = w.source.k;
  slot.n = w.source.n;
  slot.dtype = codes.dtype;
  slot.seen = DType::f32;
  slot.bytes = tensor_bytes(codes.dtype, codes.shape).value_or(0);
  slot.kind = op.starts_with("Gather")                   ? SlotKind::table
              : op.starts_with("Conv")                   ? SlotKind::conv
              : op.starts_with("MatMul") || op == "Gemm" ? SlotKind::linear
                                                         : SlotKind::other;
  if (head && (&w.node == head || w.reader == head)) slot.key = WeightKey{Role::lm_head};
  if (slot.kind == SlotKind::table) slot.key = WeightKey{Role::embed};
  return slot;
}

// Whether the codes are to be quantized anew; the reason if not.
std::string reason_to_leave(const Editor& editor, const IntegerSettings& settings,
                            const Capability& capability, const QuantizedWeight& w,
                            const Slot& slot) {
  const Recipe& recipe = editor.options.recipe;
  if (matches_any(recipe.exclude, slot)) return "excluded";
  if (!recipe.include.empty() && !matches_any(recipe.include, slot)) return "not included";
  if (slot.kind == SlotKind::other)
    return fmt::format("{} is not an operator whose weights are quantized",
                       w.reader ? w.reader->op_type() : w.node.op_type());
  const auto choice = capability.rule(slot, nullptr);
  if (!choice || choice->is_float()) {
    if (slot.kind == SlotKind::table) return "embeddings stay as they are";
    if (slot.kind == SlotKind::conv)
      return fmt::format("already {}-bit, Conv has no 4-bit form", w.storage().bits);
    return choice ? choice->reason : choice.error().message;
  }
  const unsigned bits = choice->params.bits;
  return as_asked(w, settings, editor.options, bits) ? fmt::format("already {}-bit", bits) : "";
}

}  // namespace

void reopen_quantized(Editor& editor, const IntegerSettings& settings,
                      const Capability& capability) {
  const onnx::NodeProto* head = find_logits_node(*editor.index);
  rewrite_dequantize(editor, [&](const QuantizedWeight& w) {
    const Slot slot = slot_of(w, head);
    const std::string reason = reason_to_leave(editor, settings, capability, w, slot);
    if (reason.empty()) return true;
    PlanRow row = plan_row(slot, stay_float(reason));
    row.bytes_after = row.bytes_before;
    editor.plan.rows.push_back(std::move(row));
    return false;
  });
}

}  // namespace phiquant::format
