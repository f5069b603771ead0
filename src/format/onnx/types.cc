#include "format/onnx/types.h"

#include <algorithm>

#include "format/onnx/edit.h"

namespace phiquant::format {
namespace {

constexpr int kMaxDepth = 32;  // functions that call functions

int32_t element_type(const onnx::TypeProto& type) {
  if (type.has_tensor_type()) return type.tensor_type().elem_type();
  if (type.has_sequence_type()) return element_type(type.sequence_type().elem_type());
  if (type.has_optional_type()) return element_type(type.optional_type().elem_type());
  return onnx::TensorProto::UNDEFINED;
}

// The type of a parameter that takes one type only.
int32_t fixed_type(const onnx::OpSchema::FormalParameter& formal) {
  if (formal.GetTypes().size() != 1) return onnx::TensorProto::UNDEFINED;
  const std::string& text = **formal.GetTypes().begin();
  for (const auto& [name, type] : {std::pair{"tensor(float)", onnx::TensorProto::FLOAT},
                                   {"tensor(int64)", onnx::TensorProto::INT64},
                                   {"tensor(bool)", onnx::TensorProto::BOOL},
                                   {"tensor(uint8)", onnx::TensorProto::UINT8},
                                   {"tensor(int32)", onnx::TensorProto::INT32}})
    if (text == name) return type;
  return onnx::TensorProto::UNDEFINED;
}

bool is_float_type(int32_t type) {
  return type == onnx::TensorProto::FLOAT || type == onnx::TensorProto::FLOAT16 ||
         type == onnx::TensorProto::BFLOAT16 || type == onnx::TensorProto::DOUBLE;
}

}  // namespace

const onnx::OpSchema* schema_of(const onnx::ModelProto& model, const onnx::NodeProto& node) {
  const std::string domain = is_standard(node) ? "" : node.domain();
  for (const auto& import : model.opset_import())
    if (import.domain() == domain || (domain.empty() && import.domain() == "ai.onnx"))
      return onnx::OpSchemaRegistry::Schema(node.op_type(), static_cast<int>(import.version()),
                                            domain);
  return nullptr;
}

const onnx::OpSchema::FormalParameter* formal_of(
    const std::vector<onnx::OpSchema::FormalParameter>& formals, int i) {
  if (formals.empty()) return nullptr;
  const auto at = static_cast<size_t>(i);
  if (at < formals.size()) return &formals[at];
  return formals.back().GetOption() == onnx::OpSchema::Variadic ? &formals.back() : nullptr;
}

bool takes(const onnx::OpSchema::FormalParameter& formal, const char* type) {
  return std::any_of(formal.GetTypes().begin(), formal.GetTypes().end(),
                     [&](const std::string* t) { return *t == type; });
}

Types::Types(const onnx::ModelProto& model, const GraphIndex& index) : index_(index) {
  for (const auto& import : model.opset_import())
    opsets_[import.domain() == "ai.onnx" ? "" : import.domain()] = import.version();
  for (const auto& scope : index.scopes()) declare(*scope);
  deduce(index.main(), 0);
}

int32_t Types::of(const Scope& definer, const std::string& name) const {
  const auto scope = types_.find(&definer);
  if (scope == types_.end()) return onnx::TensorProto::UNDEFINED;
  const auto it = scope->second.find(name);
  return it == scope->second.end() ? static_cast<int32_t>(onnx::TensorProto::UNDEFINED)
                                   : it->second;
}

int32_t Types::seen(const Scope& scope, const std::string& name) const {
  for (const Scope* s = &scope; s; s = s->parent)
    if (s->defines(name)) return of(*s, name);
  return onnx::TensorProto::UNDEFINED;
}

void Types::declare(const Scope& scope) {
  auto& types = types_[&scope];
  const auto add = [&](const auto& list) {
    for (const auto& info : list)
      if (const int32_t t = element_type(info.type()); t != onnx::TensorProto::UNDEFINED)
        types.emplace(info.name(), t);
  };
  for (const auto& [name, tensor] : scope.constants) types.emplace(name, tensor->data_type());
  if (scope.graph) {
    add(scope.graph->input());
    add(scope.graph->output());
    add(scope.graph->value_info());
  } else {
    add(scope.function->value_info());
  }
}

void Types::call(const Scope& scope, const onnx::NodeProto& node, int depth) {
  if (depth > kMaxDepth) return;
  for (const auto& callee : index_.scopes()) {
    if (!callee->function || callee->function->name() != node.op_type() ||
        callee->function->domain() != node.domain())
      continue;
    const auto& function = *callee->function;
    for (int i = 0; i < std::min(function.input_size(), node.input_size()); ++i)
      types_[callee.get()].emplace(function.input(i), seen(scope, node.input(i)));
    deduce(*callee, depth + 1);
    for (int i = 0; i < std::min(function.output_size(), node.output_size()); ++i)
      types_[&scope].emplace(node.output(i), of(*callee, function.output(i)));
  }
}

int32_t Types::output_type(const Scope& scope, const onnx::NodeProto& node, int output) {
  if (is_op(node, "Cast"))
    return static_cast<int32_t>(int_attribute(node, "to", onnx::TensorProto::UNDEFINED));
  if (is_op(node, "Constant"))
    return find_attribute(node, "value_int") || find_attribute(node, "value_ints")
               ? onnx::TensorProto::INT64
               : onnx::TensorProto::FLOAT;
  if (is_op(node, "ConstantOfShape")) {
    const auto* value = find_attribute(node, "value");
    return value ? value->t().data_type() : static_cast<int32_t>(onnx::TensorProto::FLOAT);
  }
  if (const auto* dtype = find_attribute(node, "dtype"); dtype && is_standard(node))
    return static_cast<int32_t>(dtype->i());
  for (const auto& body : index_.scopes()) {
    if (body->owner != &node || !body->graph) continue;
    // Loop's body returns its condition first.
    const int i = output + (is_op(node, "Loop") ? 1 : 0);
    if (i < body->graph->output_size()) return seen(*body, body->graph->output(i).name());
  }
  const auto opset = opsets_.find(is_standard(node) ? "" : node.domain());
  const auto* schema = opset == opsets_.end()
                           ? nullptr
                           : onnx::OpSchemaRegistry::Schema(
                                 node.op_type(), static_cast<int>(opset->second), opset->first);
  if (!schema) {
    // Contributed operators return what they take, as a rule.
    for (const auto& input : node.input())
      if (const int32_t t = seen(scope, input); is_float_type(t))
        return output == 0 ? t : static_cast<int32_t>(onnx::TensorProto::UNDEFINED);
    return onnx::TensorProto::UNDEFINED;
  }
  const auto* formal = formal_of(schema->outputs(), output);
  if (!formal) return onnx::TensorProto::UNDEFINED;
  if (const int32_t t = fixed_type(*formal); t != onnx::TensorProto::UNDEFINED) return t;
  for (int i = 0; i < node.input_size(); ++i) {
    const auto* in = formal_of(schema->inputs(), i);
    if (!in || in->GetTypeStr() != formal->GetTypeStr()) continue;
    if (const int32_t t = seen(scope, node.input(i)); t != onnx::TensorProto::UNDEFINED) return t;
  }
  return onnx::TensorProto::UNDEFINED;
}

void Types::deduce(const Scope& scope, int depth) {
  const auto& nodes = scope.graph ? scope.graph->node() : scope.function->node();
  for (const auto& node : nodes) {
    for (const auto& body : index_.scopes())
      if (body->owner == &node) deduce(*body, depth + 1);
    call(scope, node, depth);
    for (int i = 0; i < node.output_size(); ++i) {
      if (node.output(i).empty() || of(scope, node.output(i)) != onnx::TensorProto::UNDEFINED)
        continue;
      types_[&scope][node.output(i)] = output_type(scope, node, i);
    }
  }
}

}  // namespace phiquant::format
