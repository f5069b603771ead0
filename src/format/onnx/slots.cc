#include "format/onnx/slots.h"

#include <algorithm>
#include <set>

#include "core/glob.h"

namespace phiquant::format {
namespace {

// A router picks experts: a rounding error there sends a token elsewhere.
const std::vector<std::string> kRouterPatterns = {"*router*", "*.gate.weight*", "*moe.gate*",
                                                  "*moe/gate/*"};

bool passes_through(const onnx::NodeProto& node) {
  for (const char* op : {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose",
                         "Slice", "Gather", "Add", "Sub", "Mul", "Div", "Tanh", "Clip"})
    if (is_op(node, op)) return true;
  return false;
}

// The node that makes the logits: from the output back through arithmetic that keeps one value per
// token and word.
const onnx::NodeProto* logits_node(const Scope& main,
                                   const std::set<const onnx::NodeProto*>& linears) {
  std::string name = "logits";
  if (!main.outputs.count(name)) return nullptr;
  for (int depth = 0; depth < 16; ++depth) {
    const auto it = main.producers.find(name);
    if (it == main.producers.end()) return nullptr;
    const onnx::NodeProto& node = *it->second;
    if (linears.count(&node)) return &node;
    if (!passes_through(node)) return nullptr;
    const auto input = std::find_if(
        node.input().begin(), node.input().end(),
        [&](const std::string& i) { return main.producers.count(i) && !main.constants.count(i); });
    if (input == node.input().end()) return nullptr;
    name = *input;
  }
  return nullptr;
}

}  // namespace

const onnx::NodeProto* find_logits_node(const GraphIndex& index) {
  std::set<const onnx::NodeProto*> products;
  for (const auto& node : index.main().nodes())
    if (is_op(node, "MatMul") || is_op(node, "Gemm") || is_op(node, "MatMulInteger") ||
        is_microsoft_op(node, "MatMulNBits"))
      products.insert(&node);
  return logits_node(index.main(), products);
}

bool is_router_name(const std::string& name) { return glob_match_any(kRouterPatterns, name); }

namespace {

bool can_be_quantized(const Candidate& c) { return c.slot.must_stay.empty(); }

void assign_roles(const GraphIndex& index, std::vector<Candidate>& candidates) {
  std::set<const onnx::NodeProto*> linears;
  std::set<uint64_t> vocabularies;
  for (const Candidate& c : candidates) {
    if (c.slot.kind == SlotKind::linear && can_be_quantized(c)) linears.insert(c.node);
    if (c.slot.kind == SlotKind::table && can_be_quantized(c)) vocabularies.insert(c.slot.n);
  }
  const onnx::NodeProto* head = logits_node(index.main(), linears);
  if (!head) {
    // No output by that name: the last of the widest matmuls, if it is as wide as an embedding is
    // long.
    const Candidate* widest = nullptr;
    for (const Candidate& c : candidates)
      if (linears.count(c.node) && (!widest || c.slot.n >= widest->slot.n)) widest = &c;
    if (widest && vocabularies.count(widest->slot.n)) head = widest->node;
  }
  for (Candidate& c : candidates) {
    if (c.slot.kind != SlotKind::linear) continue;
    if (c.node == head)
      c.slot.key = WeightKey{Role::lm_head};
    else if (is_router_name(c.weight.tensor->name()) || is_router_name(c.node->name()))
      c.slot.key = WeightKey{Role::router};
  }
}

}  // namespace

void identify(Editor& editor, std::vector<Candidate>& candidates) {
  for (Candidate& c : candidates) {
    Slot& slot = c.slot;
    slot.tensor = c.weight.tensor->name();
    slot.node = c.node->name();
    slot.names = {c.weight.base, slot.node};
    slot.shape = shape_of(*c.weight.tensor);
    slot.dtype = dtype_from_onnx(c.weight.tensor->data_type());
    slot.bytes = tensor_bytes(slot.dtype, slot.shape).value_or(0);
    slot.seen = c.weight.dtype;
    slot.is_turned = c.weight.transposed;
    if (can_be_quantized(c) && editor.decoded(*c.weight.tensor) &&
        !weight_source(editor, c.weight, c.nk))
      slot.must_stay = "quantized along the other axis (convert it with --precision fp32 first)";
  }
  assign_roles(*editor.index, candidates);
}

}  // namespace phiquant::format
