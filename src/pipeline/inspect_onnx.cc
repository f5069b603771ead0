// What a graph holds: tensors of all scopes, operators, inputs and outputs.
#include "pipeline/inspect_onnx.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <fmt/core.h>

namespace phiquant {
namespace {

struct Entry {
  InspectTensor row;
  DType dtype = DType::undefined;
  Use use = Use::none;
};

bool is_standard(const onnx::NodeProto& node) {
  return node.domain().empty() || node.domain() == "ai.onnx";
}

// What reading a 2-D (or convolution) weight as input `slot` of `node` makes of it.
Use use_of(const onnx::NodeProto& node, int slot, const Shape& shape) {
  const std::string& op = node.op_type();
  if (is_standard(node)) {
    if ((op == "MatMul" || op == "Gemm") && slot == 1 && shape.size() == 2) return Use::blocks;
    if (op == "Gather" && slot == 0 && shape.size() == 2) return Use::blocks;
    if ((op == "Conv" || op == "ConvTranspose") && slot == 1) return Use::conv;
    if (op == "DequantizeLinear" && slot == 0) return Use::codes;
    if (op == "MatMulInteger" && slot == 1) return Use::codes;
  } else if (node.domain() == "com.microsoft") {
    if (op == "MatMulNBits" && slot == 1) return Use::codes;
    if (op == "GatherBlockQuantized" && slot == 0) return Use::codes;
    if (op == "DequantizeLinear" && slot == 0) return Use::codes;
  }
  return Use::other;
}

// Reads all scopes: tensors are known by name inside their graph and the graphs within it.
class Inspector {
 public:
  explicit Inspector(const OnnxModel& model) : model_(model) {}

  void run(InspectReport& report) {
    graph(model_.proto.graph());
    for (const auto& f : model_.proto.functions()) {
      for (const auto& a : f.attribute_proto()) attribute(a);
      body(f.node());
    }
    for (const auto& t : model_.proto.training_info()) {
      graph(t.initialization());
      graph(t.algorithm());
    }
    for (Entry& e : entries_) {
      e.row.type = dtype_name(e.dtype);
      e.row.quantizable = quantizable(e.dtype, e.use);
      report.tensors.push_back(std::move(e.row));
    }
    report.ops.assign(ops_.begin(), ops_.end());
    // Most frequent first; the map has them by name already.
    std::stable_sort(report.ops.begin(), report.ops.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
  }

 private:
  using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

  size_t add(const onnx::TensorProto& t, const std::string& name);
  void graph(const onnx::GraphProto& g);
  void body(const Nodes& nodes);
  void attribute(const onnx::AttributeProto& a);
  void sparse(const onnx::SparseTensorProto& s);
  void consume(const Nodes& nodes);
  std::optional<size_t> find(const std::string& name) const;

  const OnnxModel& model_;
  std::vector<Entry> entries_;
  std::map<std::string, uint64_t> ops_;
  // Innermost last: name -> index into entries_.
  std::vector<std::unordered_map<std::string, size_t>> scopes_{1};
};

size_t Inspector::add(const onnx::TensorProto& t, const std::string& name) {
  Entry e;
  e.row.name = name;
  e.row.location = "inline";
  if (const auto index = payload_index(t)) {
    const Payload& p = model_.payloads[*index];
    if (name.empty()) e.row.name = p.source.name;
    if (p.file != kNoFile && p.file != 0) {
      // As the model names it where it lies beside the model.
      e.row.location = model_.files[p.file].lexically_relative(model_.path.parent_path()).string();
      if (e.row.location.empty()) e.row.location = model_.files[p.file].string();
    }
  }
  e.dtype = dtype_from_onnx(t.data_type());
  for (const int64_t d : t.dims()) e.row.shape.push_back(static_cast<uint64_t>(d));
  e.row.size_bytes = tensor_bytes(e.dtype, e.row.shape).value_or(0);
  if (e.dtype == DType::string)
    for (const std::string& s : t.string_data()) e.row.size_bytes += s.size();
  entries_.push_back(std::move(e));
  return entries_.size() - 1;
}

void Inspector::sparse(const onnx::SparseTensorProto& s) {
  if (s.has_values()) add(s.values(), s.values().name());
  if (s.has_indices()) add(s.indices(), s.indices().name());
}

void Inspector::graph(const onnx::GraphProto& g) {
  scopes_.emplace_back();
  for (const auto& t : g.initializer()) {
    const size_t index = add(t, t.name());
    scopes_.back()[t.name()] = index;
  }
  for (const auto& s : g.sparse_initializer()) sparse(s);
  body(g.node());
  scopes_.pop_back();
}

void Inspector::attribute(const onnx::AttributeProto& a) {
  if (a.has_t()) add(a.t(), a.t().name());
  for (const auto& t : a.tensors()) add(t, t.name());
  if (a.has_sparse_tensor()) sparse(a.sparse_tensor());
  for (const auto& s : a.sparse_tensors()) sparse(s);
  if (a.has_g()) graph(a.g());
  for (const auto& g : a.graphs()) graph(g);
}

void Inspector::body(const Nodes& nodes) {
  // Constants first: any node of the scope and of the graphs inside it may read them.
  for (const auto& node : nodes) {
    ++ops_[is_standard(node) ? node.op_type()
                             : fmt::format("{}.{}", node.domain(), node.op_type())];
    if (node.op_type() != "Constant" || !is_standard(node) || node.output_size() != 1) continue;
    for (const auto& a : node.attribute()) {
      if (!a.has_t()) continue;
      const size_t index = add(a.t(), a.t().name().empty() ? node.output(0) : a.t().name());
      scopes_.back()[node.output(0)] = index;
    }
  }
  consume(nodes);
  for (const auto& node : nodes) {
    const bool constant =
        node.op_type() == "Constant" && is_standard(node) && node.output_size() == 1;
    for (const auto& a : node.attribute())
      if (!constant || !a.has_t()) attribute(a);
  }
}

std::optional<size_t> Inspector::find(const std::string& name) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
    if (const auto it = scope->find(name); it != scope->end()) return it->second;
  return std::nullopt;
}

void Inspector::consume(const Nodes& nodes) {
  // Weights are often read through a cast (bf16 weights of a float model) or a transpose.
  std::unordered_map<std::string, size_t> through;
  for (const auto& node : nodes) {
    const std::string& op = node.op_type();
    const bool passes =
        is_standard(node) && (op == "Cast" || op == "Transpose" || op == "Identity");
    for (int slot = 0; slot < node.input_size(); ++slot) {
      auto index = find(node.input(slot));
      if (const auto it = through.find(node.input(slot)); it != through.end()) index = it->second;
      if (!index) continue;
      Entry& e = entries_[*index];
      if (e.row.used_by.empty()) e.row.used_by = op;
      if (passes && slot == 0 && node.output_size() == 1) through[node.output(0)] = *index;
      if (!passes) e.use = std::max(e.use, use_of(node, slot, e.row.shape));
    }
  }
}

std::string dims_string(const onnx::TensorShapeProto& shape) {
  std::string out = "[";
  for (int i = 0; i < shape.dim_size(); ++i) {
    if (i > 0) out += ", ";
    const auto& d = shape.dim(i);
    out += d.has_dim_value()   ? std::to_string(d.dim_value())
           : d.has_dim_param() ? d.dim_param()
                               : "?";
  }
  return out + "]";
}

// "float32[1, seq]", "sequence(int64[])", ...
std::string type_string(const onnx::TypeProto& type) {
  switch (type.value_case()) {
    case onnx::TypeProto::kTensorType:
      return std::string(dtype_name(dtype_from_onnx(type.tensor_type().elem_type()))) +
             (type.tensor_type().has_shape() ? dims_string(type.tensor_type().shape()) : "");
    case onnx::TypeProto::kSparseTensorType:
      return fmt::format("sparse {}",
                         dtype_name(dtype_from_onnx(type.sparse_tensor_type().elem_type())));
    case onnx::TypeProto::kSequenceType:
      return fmt::format("sequence({})", type_string(type.sequence_type().elem_type()));
    case onnx::TypeProto::kOptionalType:
      return fmt::format("optional({})", type_string(type.optional_type().elem_type()));
    case onnx::TypeProto::kMapType:
      return fmt::format("map({}, {})", dtype_name(dtype_from_onnx(type.map_type().key_type())),
                         type_string(type.map_type().value_type()));
    default:
      return "unknown";
  }
}

void add_properties(const onnx::ModelProto& m, InspectReport& report) {
  auto& p = report.properties;
  p.emplace_back("ir_version", std::to_string(m.ir_version()));
  for (const auto& o : m.opset_import())
    p.emplace_back(fmt::format("opset {}", o.domain().empty() ? "ai.onnx" : o.domain()),
                   std::to_string(o.version()));
  if (!m.producer_name().empty()) p.emplace_back("producer", m.producer_name());
  if (!m.producer_version().empty()) p.emplace_back("producer_version", m.producer_version());
  if (!m.domain().empty()) p.emplace_back("domain", m.domain());
  if (m.model_version() != 0) p.emplace_back("model_version", std::to_string(m.model_version()));
  if (!m.graph().name().empty()) p.emplace_back("graph", m.graph().name());
  if (m.functions_size() > 0) p.emplace_back("functions", std::to_string(m.functions_size()));
  for (const auto& e : m.metadata_props())
    p.emplace_back(fmt::format("metadata {}", e.key()), e.value());
}

}  // namespace

InspectReport inspect_onnx(const OnnxModel& model) {
  InspectReport report;
  report.path = model.path.string();
  report.size_bytes = model.input_bytes;
  add_properties(model.proto, report);
  const auto& graph = model.proto.graph();
  // Old exporters list initializers among the inputs; those are no inputs to the user.
  std::unordered_map<std::string, bool> is_initializer;
  for (const auto& t : graph.initializer()) is_initializer[t.name()] = true;
  for (const auto& v : graph.input())
    if (!is_initializer.contains(v.name()))
      report.io.push_back({v.name(), type_string(v.type()), true});
  for (const auto& v : graph.output())
    report.io.push_back({v.name(), type_string(v.type()), false});
  Inspector(model).run(report);
  return report;
}

}  // namespace phiquant
