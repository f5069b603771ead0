#include "format/onnx/graph.h"

#include <cstring>

namespace phiquant::format {

Nodes& Scope::nodes() const { return graph ? *graph->mutable_node() : *function->mutable_node(); }

bool Scope::defines(const std::string& name) const {
  return constants.count(name) || producers.count(name) || inputs.count(name);
}

bool is_standard(const onnx::NodeProto& node) {
  return node.domain().empty() || node.domain() == "ai.onnx";
}
bool is_op(const onnx::NodeProto& node, const char* op_type) {
  return is_standard(node) && node.op_type() == op_type;
}
bool is_microsoft_op(const onnx::NodeProto& node, const char* op_type) {
  return node.domain() == "com.microsoft" && node.op_type() == op_type;
}

const onnx::AttributeProto* find_attribute(const onnx::NodeProto& node, const char* name) {
  for (const auto& a : node.attribute())
    if (a.name() == name) return &a;
  return nullptr;
}

onnx::AttributeProto* find_attribute(onnx::NodeProto& node, const char* name) {
  for (auto& a : *node.mutable_attribute())
    if (a.name() == name) return &a;
  return nullptr;
}

int64_t int_attribute(const onnx::NodeProto& node, const char* name, int64_t otherwise) {
  const auto* a = find_attribute(node, name);
  return a ? a->i() : otherwise;
}

float float_attribute(const onnx::NodeProto& node, const char* name, float otherwise) {
  const auto* a = find_attribute(node, name);
  return a ? a->f() : otherwise;
}

void add_int_attribute(onnx::NodeProto& node, const char* name, int64_t value) {
  auto* a = node.add_attribute();
  a->set_name(name);
  a->set_type(onnx::AttributeProto::INT);
  a->set_i(value);
}

onnx::TensorProto* constant_tensor(onnx::NodeProto& node) {
  if (!is_op(node, "Constant")) return nullptr;
  auto* a = find_attribute(node, "value");
  return a && a->has_t() ? a->mutable_t() : nullptr;
}

GraphIndex::GraphIndex(onnx::ModelProto& model) {
  add_graph(*model.mutable_graph(), nullptr, nullptr);
  for (auto& function : *model.mutable_functions()) {
    auto& scope = *scopes_.emplace_back(std::make_unique<Scope>());
    scope.function = &function;
    for (const auto& name : function.input()) scope.inputs.insert(name);
    for (const auto& name : function.output()) scope.outputs.insert(name);
    add_nodes(scope);
  }
  for (const auto& scope : scopes_) {
    for (const auto& name : scope->inputs) value_names_.insert(name);
    for (const auto& [name, tensor] : scope->constants) value_names_.insert(name);
    for (const auto& [name, node] : scope->producers) value_names_.insert(name);
    for (const auto& node : scope->nodes()) node_names_.insert(node.name());
  }
}

void GraphIndex::add_graph(onnx::GraphProto& graph, Scope* parent, onnx::NodeProto* owner) {
  auto& scope = *scopes_.emplace_back(std::make_unique<Scope>());
  scope.graph = &graph;
  scope.parent = parent;
  scope.owner = owner;
  for (auto& tensor : *graph.mutable_initializer()) scope.constants.emplace(tensor.name(), &tensor);
  for (const auto& input : graph.input()) scope.inputs.insert(input.name());
  for (const auto& output : graph.output()) scope.outputs.insert(output.name());
  add_nodes(scope);
  // A body may return a value of an outer scope directly.
  for (const auto& output : graph.output())
    if (!scope.defines(output.name()))
      if (Scope* definer = defining(parent, output.name())) definer->outputs.insert(output.name());
}

void GraphIndex::add_nodes(Scope& scope) {
  for (auto& node : scope.nodes()) {
    for (const auto& output : node.output())
      if (!output.empty()) scope.producers.emplace(output, &node);
    if (auto* tensor = constant_tensor(node); tensor && node.output_size() == 1)
      scope.constants.emplace(node.output(0), tensor);
  }
  for (auto& node : scope.nodes()) {
    for (int i = 0; i < node.input_size(); ++i)
      if (Scope* definer = defining(&scope, node.input(i)))
        definer->uses[node.input(i)].push_back({&scope, &node, i});
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) add_graph(*attribute.mutable_g(), &scope, &node);
      for (auto& body : *attribute.mutable_graphs()) add_graph(body, &scope, &node);
    }
  }
}

Scope* GraphIndex::defining(Scope* from, const std::string& name) {
  if (name.empty()) return nullptr;
  while (from && !from->defines(name)) from = from->parent;
  return from;
}

const std::vector<Use>& GraphIndex::uses(const Scope& definer, const std::string& name) {
  static const std::vector<Use> kNone;
  const auto it = definer.uses.find(name);
  return it == definer.uses.end() ? kNone : it->second;
}

bool GraphIndex::unused(const Scope& definer, const std::string& name) {
  return uses(definer, name).empty() && !definer.outputs.count(name);
}

namespace {

class TensorWalk {
 public:
  explicit TensorWalk(std::vector<TensorAt>& out) : out_(out) {}

  void attribute(onnx::AttributeProto& a, TensorPlace place, bool in_function) {
    if (a.has_t()) add(a.mutable_t(), place, in_function);
    for (auto& t : *a.mutable_tensors()) add(&t, TensorPlace::attribute, in_function);
    if (a.has_g()) graph(*a.mutable_g(), in_function);
    for (auto& g : *a.mutable_graphs()) graph(g, in_function);
    if (a.has_sparse_tensor()) sparse(*a.mutable_sparse_tensor(), in_function);
    for (auto& s : *a.mutable_sparse_tensors()) sparse(s, in_function);
  }

  void nodes(Nodes& nodes, bool in_function) {
    for (auto& node : nodes) {
      const auto place =
          is_op(node, "Constant") ? TensorPlace::constant_node : TensorPlace::attribute;
      for (auto& a : *node.mutable_attribute()) attribute(a, place, in_function);
    }
  }

  void graph(onnx::GraphProto& graph, bool in_function) {
    for (auto& t : *graph.mutable_initializer()) add(&t, TensorPlace::initializer, in_function);
    for (auto& s : *graph.mutable_sparse_initializer()) sparse(s, in_function);
    nodes(*graph.mutable_node(), in_function);
  }

 private:
  void add(onnx::TensorProto* tensor, TensorPlace place, bool in_function) {
    out_.push_back({tensor, place, in_function});
  }
  void sparse(onnx::SparseTensorProto& s, bool in_function) {
    add(s.mutable_values(), TensorPlace::sparse, in_function);
    add(s.mutable_indices(), TensorPlace::sparse, in_function);
  }
  std::vector<TensorAt>& out_;
};

}  // namespace

std::vector<TensorAt> all_tensors(onnx::ModelProto& model) {
  std::vector<TensorAt> out;
  TensorWalk walk(out);
  walk.graph(*model.mutable_graph(), false);
  for (auto& function : *model.mutable_functions()) {
    for (auto& a : *function.mutable_attribute_proto())
      walk.attribute(a, TensorPlace::attribute, true);
    walk.nodes(*function.mutable_node(), true);
  }
  for (auto& training : *model.mutable_training_info()) {
    if (training.has_initialization()) walk.graph(*training.mutable_initialization(), false);
    if (training.has_algorithm()) walk.graph(*training.mutable_algorithm(), false);
  }
  return out;
}

}  // namespace phiquant::format
