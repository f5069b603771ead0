#include "format/onnx/weight.h"

#include <algorithm>

#include <fmt/format.h>

#include "format/onnx/ranks.h"

namespace phiquant::format {
namespace {

constexpr int kMaxChain = 8;  // nodes between a constant and its reader; exporters leave one or two

bool is_swap(const onnx::NodeProto& node) {
  const auto* perm = find_attribute(node, "perm");
  return !perm || (perm->ints_size() == 2 && perm->ints(0) == 1 && perm->ints(1) == 0);
}

uint64_t product(const Shape& shape, size_t from) {
  uint64_t n = 1;
  for (size_t i = from; i < shape.size(); ++i) n *= shape[i];
  return n;
}

}  // namespace

std::optional<ConstantRef> find_constant(Scope& scope, const std::string& name) {
  Scope* definer = GraphIndex::defining(&scope, name);
  if (!definer) return std::nullopt;
  const auto it = definer->constants.find(name);
  if (it == definer->constants.end()) return std::nullopt;
  return ConstantRef{definer, it->second};
}

std::optional<WeightRef> find_weight(Scope& scope, const std::string& name) {
  WeightRef weight;
  std::string at = name, cast_name;
  for (int depth = 0; depth < kMaxChain; ++depth) {
    Scope* definer = GraphIndex::defining(weight.scope ? weight.scope : &scope, at);
    if (!definer) return std::nullopt;
    weight.scope = definer;
    if (const auto constant = definer->constants.find(at); constant != definer->constants.end()) {
      weight.tensor = constant->second;
      const DType stored = dtype_from_onnx(weight.tensor->data_type());
      if (!is_weight_float(stored)) return std::nullopt;
      if (weight.dtype == DType::undefined) weight.dtype = stored;
      // A Cast's output is what the weight was called before its storage was narrowed.
      weight.base = cast_name.empty() ? at : cast_name;
      weight.shape = shape_of(*weight.tensor);
      if (weight.transposed && weight.shape.size() == 2)
        std::swap(weight.shape[0], weight.shape[1]);
      if (weight.transposed && weight.shape.size() != 2) return std::nullopt;
      return weight;
    }
    const auto producer = definer->producers.find(at);
    if (producer == definer->producers.end() || producer->second->input_size() != 1)
      return std::nullopt;
    const onnx::NodeProto& node = *producer->second;
    cast_name.clear();
    if (is_op(node, "Cast")) {
      const DType to = dtype_from_onnx(static_cast<int32_t>(int_attribute(node, "to", 0)));
      if (!is_weight_float(to)) return std::nullopt;
      if (weight.dtype == DType::undefined) weight.dtype = to;
      cast_name = at;
    } else if (is_op(node, "Transpose") && is_swap(node)) {
      weight.transposed = !weight.transposed;
    } else if (!is_op(node, "Identity")) {
      return std::nullopt;
    }
    at = node.input(0);
  }
  return std::nullopt;
}

Shape stored_shape(const WeightRef& weight) {
  Shape shape = shape_of(*weight.tensor);
  shape.erase(shape.begin(), shape.begin() + static_cast<ptrdiff_t>(weight.leading));
  return shape;
}

std::optional<WeightSource> weight_source(Editor& editor, const WeightRef& weight, bool nk) {
  const bool stored_nk = nk != weight.transposed;
  const Shape stored = stored_shape(weight);
  if (stored.empty()) return std::nullopt;
  const uint64_t first = stored[0], rest = product(stored, 1);
  const uint64_t k = stored_nk ? rest : first, n = stored_nk ? first : rest;
  if (const DecodedWeight* decoded = editor.decoded(*weight.tensor)) {
    WeightSource source = decoded->source;
    source.name = weight.tensor->name();
    if ((decoded->orientation == Orientation::nk) == stored_nk && source.k == k && source.n == n)
      return source;
    auto& blocks = std::get<BlockStorage>(source.storage);
    if (blocks.column_group != source.n || blocks.packing == Packing::nbits ||
        blocks.block_size < source.k)
      return std::nullopt;
    // One scale for the whole tensor: it may be read along either axis.
    blocks.packing = stored_nk ? Packing::n_major : Packing::k_major;
    blocks.block_size = k;
    blocks.column_group = n;
    source.k = k;
    source.n = n;
    return source;
  }
  return WeightSource{
      weight.tensor->name(), k, n,
      DenseStorage{editor.source(*weight.tensor), stored_nk ? Orientation::nk : Orientation::kn}};
}

namespace {

// Fills in K, N and the reason for refusal of the four operators that can be quantized.
void describe_matmul(Candidate& c) {
  c.slot.kind = SlotKind::linear;
  if (c.input == 0) {
    c.slot.must_stay = "the constant is the left operand";
  } else if (c.weight.shape.size() > 2) {
    c.slot.must_stay = fmt::format("batched weight {}, only 2-D weights are quantized",
                                   shape_string(c.weight.shape));
  } else if (c.weight.shape.size() < 2) {
    c.slot.must_stay = "a vector, only 2-D weights are quantized";
  } else {
    c.slot.k = c.weight.shape[0];
    c.slot.n = c.weight.shape[1];
  }
}

void describe_gemm(Candidate& c) {
  describe_matmul(c);
  if (!c.slot.must_stay.empty()) return;
  c.nk = int_attribute(*c.node, "transB", 0) != 0;
  if (c.nk) std::swap(c.slot.k, c.slot.n);
  if (int_attribute(*c.node, "transA", 0) != 0) c.slot.must_stay = "Gemm with transA = 1";
}

void describe_gather(Candidate& c) {
  c.slot.kind = SlotKind::table;
  c.slot.key = WeightKey{Role::embed};
  c.nk = true;
  if (c.input != 0)
    c.slot.must_stay = "not a table";
  else if (c.weight.shape.size() != 2)
    c.slot.must_stay = fmt::format("table {} is not 2-D", shape_string(c.weight.shape));
  else if (int_attribute(*c.node, "axis", 0) != 0)
    c.slot.must_stay = "Gather along another axis than 0";
  if (!c.slot.must_stay.empty()) return;
  c.slot.n = c.weight.shape[0];
  c.slot.k = c.weight.shape[1];
}

void describe_conv(Candidate& c) {
  c.slot.kind = SlotKind::conv;
  c.nk = true;
  if (c.input != 1 || c.weight.shape.size() < 3) {
    c.slot.must_stay = "not a filter";
    return;
  }
  c.slot.n = c.weight.shape[0];
  c.slot.k = product(c.weight.shape, 1);
}

void add_candidates(Scope& scope, onnx::NodeProto& node, std::vector<Candidate>& out) {
  if (is_op(node, "Cast") || is_op(node, "Transpose") || is_op(node, "Identity") ||
      is_op(node, "Constant"))
    return;
  for (int i = 0; i < node.input_size(); ++i) {
    const auto weight = find_weight(scope, node.input(i));
    if (!weight || weight->shape.size() < 2) continue;
    const uint64_t count = product(weight->shape, 0);
    if (count == 0) continue;
    Candidate c{&scope, &node, i, *weight, false, {}};
    if (is_op(node, "MatMul"))
      describe_matmul(c);
    else if (is_op(node, "Gemm") && i < 2)
      describe_gemm(c);
    else if (is_op(node, "Gather"))
      describe_gather(c);
    else if (is_op(node, "Conv"))
      describe_conv(c);
    else if (*std::max_element(weight->shape.begin(), weight->shape.end()) == count)
      continue;  // [1, 1, 64]: a vector
    else
      c.slot.must_stay =
          fmt::format("{} is not an operator whose weights are quantized", node.op_type());
    out.push_back(std::move(c));
  }
}

// Lets weights [1, K, N] in, where leaving the 1 out does not take a dimension off the product.
void admit_leading_ones(const GraphIndex& index, std::vector<Candidate>& candidates) {
  std::optional<Ranks> ranks;
  for (Candidate& c : candidates) {
    const Shape& shape = c.weight.shape;
    if (!is_op(*c.node, "MatMul") || c.input != 1 || shape.size() < 3 || shape.size() > 8) continue;
    const size_t leading = shape.size() - 2;
    if (!std::all_of(shape.begin(), shape.begin() + static_cast<ptrdiff_t>(leading),
                     [](uint64_t d) { return d == 1; }))
      continue;
    if (!ranks) ranks.emplace(index);
    const auto rank = ranks->of(*c.scope, c.node->input(0));
    if (!rank || *rank < static_cast<int64_t>(shape.size())) {
      c.slot.must_stay =
          fmt::format("weight {} adds a dimension to the product, only 2-D weights are quantized",
                      shape_string(shape));
      continue;
    }
    c.weight.leading = leading;
    c.weight.shape.erase(shape.begin(), shape.begin() + static_cast<ptrdiff_t>(leading));
    c.slot.must_stay.clear();
    c.slot.k = c.weight.shape[0];
    c.slot.n = c.weight.shape[1];
  }
}

}  // namespace

std::vector<Candidate> find_candidates(const GraphIndex& index) {
  std::vector<Candidate> out;
  for (const auto& scope : index.scopes())
    for (auto& node : scope->nodes()) add_candidates(*scope, node, out);
  admit_leading_ones(index, out);
  return out;
}

}  // namespace phiquant::format
