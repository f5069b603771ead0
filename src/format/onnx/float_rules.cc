#include "format/onnx/float_rules.h"

#include <algorithm>
#include <string_view>

#include "core/glob.h"
#include "format/onnx/weight.h"

namespace phiquant::format {
namespace {

// onnxruntime 1.31, transformers/float16.py, DEFAULT_OP_BLOCK_LIST.
constexpr std::string_view kBlocked[] = {"ArrayFeatureExtractor",
                                         "Binarizer",
                                         "CastMap",
                                         "CategoryMapper",
                                         "DictVectorizer",
                                         "FeatureVectorizer",
                                         "Imputer",
                                         "LabelEncoder",
                                         "LinearClassifier",
                                         "LinearRegressor",
                                         "Normalizer",
                                         "OneHotEncoder",
                                         "RandomUniformLike",
                                         "SVMClassifier",
                                         "SVMRegressor",
                                         "Scaler",
                                         "TreeEnsembleClassifier",
                                         "TreeEnsembleRegressor",
                                         "TreeEnsemble",
                                         "ZipMap",
                                         "NonMaxSuppression",
                                         "TopK",
                                         "RoiAlign",
                                         "Range",
                                         "CumSum",
                                         "Min",
                                         "Max",
                                         "Upsample"};

}  // namespace

FloatRules::FloatRules(const Editor& editor, DType to)
    : editor_(editor),
      to_(to),
      type_name_(to == DType::f16    ? "tensor(float16)"
                 : to == DType::bf16 ? "tensor(bfloat16)"
                                     : "tensor(float)") {}

bool FloatRules::left_out(const Scope& scope, const onnx::NodeProto& node) const {
  const auto& o = editor_.options;
  if (o.recipe.include.empty() && o.recipe.exclude.empty()) return false;
  std::vector<std::string> names = {node.name()};
  for (const auto& input : node.input())
    if (find_constant(const_cast<Scope&>(scope), input)) names.push_back(input);
  const auto any = [&](const std::vector<std::string>& patterns) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& n) { return glob_match_any(patterns, n); });
  };
  return any(o.recipe.exclude) || (!o.recipe.include.empty() && !any(o.recipe.include));
}

bool FloatRules::blocked(const Scope& scope, const onnx::NodeProto& node) const {
  if (to_ == DType::f32) return false;
  const auto& listed = editor_.options.output.onnx.op_block_list;
  if (std::find(std::begin(kBlocked), std::end(kBlocked), node.op_type()) != std::end(kBlocked))
    return true;
  if (std::find(listed.begin(), listed.end(), node.op_type()) != listed.end() ||
      left_out(scope, node))
    return true;
  // A body can only be narrow where the node around it may return that type (If before opset 16: no
  // bfloat16).
  if ((is_op(node, "If") || is_op(node, "Loop") || is_op(node, "Scan")) && !output_takes(node, 0))
    return true;
  return scope.owner && scope.parent && blocked(*scope.parent, *scope.owner);
}

bool FloatRules::output_takes(const onnx::NodeProto& node, int output) const {
  const auto* schema = schema_of(editor_.model.proto, node);
  const auto* formal = schema ? formal_of(schema->outputs(), output) : nullptr;
  return !formal || !takes(*formal, "tensor(float)") || takes(*formal, type_name_.c_str());
}

bool FloatRules::input_stays(const Scope& scope, const onnx::NodeProto& node, int input) const {
  if (to_ == DType::f32) return false;
  if (blocked(scope, node)) return true;
  if (is_op(node, "Resize")) return input == (editor_.opset() <= 10 ? 1 : 2);
  if (node.op_type() == "GroupNorm" || node.op_type() == "SkipGroupNorm")
    return input == 1 || input == 2;
  const auto* schema = schema_of(editor_.model.proto, node);
  const auto* formal = schema ? formal_of(schema->inputs(), input) : nullptr;
  return formal && takes(*formal, "tensor(float)") && !takes(*formal, type_name_.c_str());
}

bool FloatRules::output_stays(const Scope& scope, const onnx::NodeProto& node, int output) const {
  if (to_ == DType::f32) return false;
  return blocked(scope, node) || !output_takes(node, output);
}

}  // namespace phiquant::format
