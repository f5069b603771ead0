#include "format/onnx/ranks.h"

#include <algorithm>
#include <cstring>

#include "format/onnx/edit.h"
#include "wire/onnx_payload.h"

namespace phiquant::format {
namespace {

constexpr int kMaxDepth = 16;  // nodes that make a shape; exporters take three or four

// Operators whose first output has the rank of their first input.
constexpr const char* kSame[] = {
    "Abs",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Clip",
    "Conv",
    "ConvTranspose",
    "CumSum",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MaxPool",
    "Neg",
    "Not",
    "PRelu",
    "Pad",
    "QuantizeLinear",
    "Reciprocal",
    "Relu",
    "Resize",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Slice",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Tanh",
    "Tile",
    "Transpose",
    "Trilu",
    "Concat",
};
// Operators that broadcast their inputs against each other.
constexpr const char* kBroadcast[] = {
    "Add",  "And",         "Div", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Max", "Mean",  "Min",     "Mod",
    "Mul",  "Or",          "Pow", "Sub",   "Sum",     "Where",
    "Xor"};

template <size_t N>
bool listed(const char* const (&list)[N], const onnx::NodeProto& node) {
  return is_standard(node) && std::any_of(std::begin(list), std::end(list),
                                          [&](const char* op) { return node.op_type() == op; });
}

const onnx::TensorProto* constant_of(const Scope& scope, const std::string& name) {
  for (const Scope* s = &scope; s; s = s->parent) {
    if (!s->defines(name)) continue;
    const auto it = s->constants.find(name);
    return it == s->constants.end() ? nullptr : it->second;
  }
  return nullptr;
}

const onnx::NodeProto* producer_of(const Scope& scope, const std::string& name) {
  for (const Scope* s = &scope; s; s = s->parent) {
    if (!s->defines(name)) continue;
    const auto it = s->producers.find(name);
    return it == s->producers.end() ? nullptr : it->second;
  }
  return nullptr;
}

// Number of entries of `axes`, an attribute or input 1; nullopt where neither says.
std::optional<int64_t> count_axes(const Scope& scope, const onnx::NodeProto& node) {
  if (const auto* axes = find_attribute(node, "axes")) return axes->ints_size();
  if (node.input_size() < 2 || node.input(1).empty()) return std::nullopt;
  const auto* tensor = constant_of(scope, node.input(1));
  if (!tensor || tensor->dims_size() > 1) return std::nullopt;
  return tensor->dims_size() ? tensor->dims(0) : 1;
}

}  // namespace

std::optional<std::vector<int64_t>> constant_ints(const Scope& scope, const std::string& name) {
  const auto* tensor = constant_of(scope, name);
  if (!tensor || payload_index(*tensor) || tensor->dims_size() > 1) return std::nullopt;
  const std::string bytes = inline_bytes(*tensor);
  std::vector<int64_t> out;
  const auto take = [&]<class T>(T) {
    for (size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
      T v;
      std::memcpy(&v, bytes.data() + at, sizeof v);
      out.push_back(v);
    }
  };
  if (tensor->data_type() == onnx::TensorProto::INT64)
    take(int64_t{});
  else if (tensor->data_type() == onnx::TensorProto::INT32)
    take(int32_t{});
  else
    return std::nullopt;
  return out;
}

Ranks::Ranks(const GraphIndex& index) {
  for (const auto& scope : index.scopes()) {
    declare(*scope);
    auto& ranks = ranks_[scope.get()];
    for (const auto& node : scope->nodes()) {
      if (node.output_size() == 0 || node.output(0).empty() || ranks.count(node.output(0)))
        continue;
      if (const Rank rank = deduced(*scope, node)) ranks.emplace(node.output(0), *rank);
    }
  }
}

std::optional<int64_t> Ranks::of(const Scope& scope, const std::string& name) const {
  for (const Scope* s = &scope; s; s = s->parent) {
    if (!s->defines(name)) continue;
    const auto found = ranks_.find(s);
    if (found == ranks_.end()) return std::nullopt;
    const auto it = found->second.find(name);
    return it == found->second.end() ? std::nullopt : Rank(it->second);
  }
  return std::nullopt;
}

void Ranks::declare(const Scope& scope) {
  auto& ranks = ranks_[&scope];
  const auto add = [&](const auto& list) {
    for (const auto& info : list)
      if (info.type().has_tensor_type() && info.type().tensor_type().has_shape())
        ranks.emplace(info.name(), info.type().tensor_type().shape().dim_size());
  };
  for (const auto& [name, tensor] : scope.constants) ranks.emplace(name, tensor->dims_size());
  if (!scope.graph) return;
  add(scope.graph->input());
  add(scope.graph->output());
  add(scope.graph->value_info());
}

Ranks::Rank Ranks::deduced(const Scope& scope, const onnx::NodeProto& node) const {
  const auto input = [&](int i) {
    return i < node.input_size() ? of(scope, node.input(i)) : std::nullopt;
  };
  const auto offset = [](Rank rank, Rank by, int sign) {
    return rank && by ? Rank(*rank + sign * *by) : std::nullopt;
  };
  if (listed(kSame, node)) return input(0);
  if (listed(kBroadcast, node) || is_op(node, "MatMul")) {
    Rank out;
    for (int i = 0; i < node.input_size(); ++i) {
      const Rank rank = input(i);
      if (!rank || (is_op(node, "MatMul") && *rank < 2)) return std::nullopt;
      out = std::max(out.value_or(0), *rank);
    }
    return out;
  }
  if (is_microsoft_op(node, "MatMulNBits")) return input(0);
  if (is_op(node, "Gemm") || is_op(node, "Flatten")) return 2;
  if (is_op(node, "Shape")) return 1;
  if (is_op(node, "Unsqueeze")) return offset(input(0), count_axes(scope, node), 1);
  if (is_op(node, "Squeeze")) return offset(input(0), count_axes(scope, node), -1);
  if (is_op(node, "Gather")) return offset(offset(input(0), input(1), 1), 1, -1);
  if (is_op(node, "Split")) return input(0);
  if (is_standard(node) && node.op_type().starts_with("Reduce") &&
      int_attribute(node, "keepdims", 1) != 0)
    return input(0);
  if (is_op(node, "Reshape")) return reshaped(scope, node);
  if (is_op(node, "Expand"))
    return node.input_size() > 1 ? length(scope, node.input(1), 0) : std::nullopt;
  return std::nullopt;
}

Ranks::Rank Ranks::reshaped(const Scope& scope, const onnx::NodeProto& node) const {
  return node.input_size() > 1 ? length(scope, node.input(1), 0) : std::nullopt;
}

Ranks::Rank Ranks::length(const Scope& scope, const std::string& name, int depth) const {
  if (depth > kMaxDepth) return std::nullopt;
  if (const auto* tensor = constant_of(scope, name))
    return tensor->dims_size() == 1 ? Rank(tensor->dims(0)) : std::nullopt;
  const onnx::NodeProto* node = producer_of(scope, name);
  if (!node || node->input_size() == 0) return std::nullopt;
  const std::string& first = node->input(0);
  if (is_op(*node, "Cast") || is_op(*node, "Identity")) return length(scope, first, depth + 1);
  if (is_op(*node, "Unsqueeze"))
    return of(scope, first) == 0 && count_axes(scope, *node) == 1 ? Rank(1) : std::nullopt;
  if (is_op(*node, "Shape"))
    return find_attribute(*node, "start") || find_attribute(*node, "end") ? std::nullopt
                                                                          : of(scope, first);
  if (is_op(*node, "Slice")) return slice_length(scope, *node, depth);
  if (!is_op(*node, "Concat")) return std::nullopt;
  int64_t sum = 0;
  for (const auto& part : node->input()) {
    const Rank n = length(scope, part, depth + 1);
    if (!n) return std::nullopt;
    sum += *n;
  }
  return sum;
}

// A slice of a vector with constant bounds and step 1.
Ranks::Rank Ranks::slice_length(const Scope& scope, const onnx::NodeProto& node, int depth) const {
  const Rank whole = length(scope, node.input(0), depth + 1);
  if (!whole || node.input_size() < 3) return std::nullopt;
  const auto begin = constant_ints(scope, node.input(1)), end = constant_ints(scope, node.input(2));
  if (!begin || !end || begin->size() != 1 || end->size() != 1) return std::nullopt;
  if (node.input_size() > 4 && constant_ints(scope, node.input(4)) != std::vector<int64_t>{1})
    return std::nullopt;
  const auto place = [&](int64_t i) {
    return std::clamp<int64_t>(i < 0 ? i + *whole : i, 0, *whole);
  };
  return std::max<int64_t>(0, place(end->front()) - place(begin->front()));
}

}  // namespace phiquant::format
