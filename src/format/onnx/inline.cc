#include "format/onnx/inline.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <onnx/inliner/inliner.h>

#include "format/onnx/float_rules.h"
#include "format/onnx/types.h"
#include "format/onnx/weight.h"

namespace phiquant::format {
namespace {

using FunctionId = onnx::inliner::FunctionId;  // domain and name
using FunctionIds = std::set<FunctionId>;

FunctionId id_of(const onnx::FunctionProto& f) { return {f.domain(), f.name()}; }

std::vector<const Scope*> called_by(const GraphIndex& index, const onnx::NodeProto& node) {
  std::vector<const Scope*> out;
  for (const auto& scope : index.scopes())
    if (scope->function && scope->function->name() == node.op_type() &&
        scope->function->domain() == node.domain())
      out.push_back(scope.get());
  return out;
}

// Which arguments of functions end as the constant operand of an operator whose weights the request
// quantizes.
class WeightArguments {
 public:
  WeightArguments(const GraphIndex& index, const Request& options)
      : index_(index),
        tables_(options.recipe.embeddings == TableBits::int4 ||
                options.recipe.embeddings == TableBits::int8),
        filters_(options.recipe.precision == Precision::int8) {}

  bool is_weight(const Scope& function, int argument) {
    return argument < function.function->input_size() &&
           reaches(function, function.function->input(argument));
  }

 private:
  bool takes_weight(const onnx::NodeProto& node, int input) const {
    if (is_op(node, "MatMul") || is_op(node, "Gemm")) return input == 1;
    if (is_op(node, "Gather")) return tables_ && input == 0;
    return filters_ && is_op(node, "Conv") && input == 1;
  }
  // Each value is looked at once, so that calls in a circle (which no valid model has) end.
  bool reaches(const Scope& scope, const std::string& name) {
    if (!seen_.insert({&scope, name}).second) return found_.count({&scope, name}) != 0;
    for (const Use& use : GraphIndex::uses(scope, name)) {
      bool found = takes_weight(*use.node, use.input);
      if (is_op(*use.node, "Cast") || is_op(*use.node, "Transpose") || is_op(*use.node, "Identity"))
        found = use.node->output_size() == 1 && reaches(*use.scope, use.node->output(0));
      for (const Scope* callee : called_by(index_, *use.node))
        found = found || is_weight(*callee, use.input);
      if (!found) continue;
      found_.insert({&scope, name});
      return true;
    }
    return false;
  }

  const GraphIndex& index_;
  bool tables_, filters_;
  std::set<std::pair<const Scope*, std::string>> seen_, found_;
};

using Visit = std::function<void(Scope& caller, const onnx::NodeProto& call, const Scope& callee)>;
void for_each_call(const GraphIndex& index, const Visit& visit) {
  for (const auto& scope : index.scopes())
    for (const auto& node : scope->nodes())
      for (const Scope* callee : called_by(index, node)) visit(*scope, node, *callee);
}

FunctionIds with_weight_arguments(const Editor& editor) {
  FunctionIds out;
  WeightArguments arguments(*editor.index, editor.options);
  for_each_call(*editor.index, [&](Scope& caller, const auto& call, const Scope& callee) {
    for (int i = 0; i < call.input_size(); ++i) {
      const auto weight = find_weight(caller, call.input(i));
      if (weight && weight->shape.size() >= 2 && arguments.is_weight(callee, i))
        out.insert(id_of(*callee.function));
    }
  });
  return out;
}

const Scope& root_of(const Scope& scope) {
  const Scope* root = &scope;
  while (root->parent) root = root->parent;
  return *root;
}

// Functions that hold a node which reads or makes float32 whatever the graph's type.
FunctionIds with_float32_nodes(const Editor& editor, const FloatRules& rules, const Types& types,
                               FunctionIds& untyped) {
  FunctionIds out;
  for (const auto& scope : editor.index->scopes()) {
    const Scope& root = root_of(*scope);
    if (!root.function) continue;
    const auto look = [&](const std::string& name, bool stays) {
      const Scope* definer = stays ? GraphIndex::defining(scope.get(), name) : nullptr;
      if (!definer) return;
      out.insert(id_of(*root.function));
      if (types.of(*definer, name) == onnx::TensorProto::UNDEFINED)
        untyped.insert(id_of(*root.function));
    };
    for (const auto& node : scope->nodes()) {
      for (int i = 0; i < node.input_size(); ++i)
        look(node.input(i), rules.input_stays(*scope, node, i));
      for (int i = 0; i < node.output_size(); ++i)
        look(node.output(i), rules.output_stays(*scope, node, i));
    }
  }
  return out;
}

FunctionIds without_one_type(const Editor& editor, DType to) {
  const FloatRules rules(editor, to);
  const Types types(editor.model.proto, *editor.index);
  FunctionIds out;
  const FunctionIds mixed = with_float32_nodes(editor, rules, types, out);
  std::map<std::pair<FunctionId, int>, int32_t> arguments;
  for_each_call(*editor.index, [&](Scope& caller, const auto& call, const Scope& callee) {
    const FunctionId id = id_of(*callee.function);
    for (int i = 0; i < call.input_size() && mixed.count(id); ++i) {
      const Scope* definer = GraphIndex::defining(&caller, call.input(i));
      const int32_t type = definer ? types.of(*definer, call.input(i)) : 0;
      if (arguments.try_emplace({id, i}, type).first->second != type) out.insert(id);
    }
  });
  return out;
}

}  // namespace

void inline_functions(Editor& editor, DType to) {
  const bool narrow = to == DType::f16 || to == DType::bf16;
  if (editor.model.proto.functions().empty() || (to != DType::undefined && !narrow)) return;
  std::set<std::string> names;
  // A function that called another one hands its arguments on: once more, until nothing is found.
  for (int round = editor.model.proto.functions_size(); round > 0; --round) {
    const FunctionIds wanted =
        narrow ? without_one_type(editor, to) : with_weight_arguments(editor);
    if (wanted.empty()) break;
    const int before = editor.model.proto.functions_size();
    try {
      onnx::inliner::InlineSelectedLocalFunctions(
          editor.model.proto,
          *onnx::inliner::FunctionIdSet::Create({wanted.begin(), wanted.end()}));
    } catch (const std::exception& e) {
      editor.warn(fmt::format("functions cannot be inlined: {}", e.what()));
    }
    editor.reindex();
    if (editor.model.proto.functions_size() == before) break;
    for (const auto& [domain, name] : wanted) names.insert(fmt::format("{}.{}", domain, name));
  }
  if (!names.empty())
    editor.warn(
        fmt::format("inlined functions, which {}: {}",
                    narrow ? "compute in float32 and have no one type" : "get weights as arguments",
                    fmt::join(names, ", ")));
}

}  // namespace phiquant::format
