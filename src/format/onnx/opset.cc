// Raising the standard opset of a model, where no node changes its meaning by it.
#include <algorithm>
#include <cstring>
#include <optional>

#include <fmt/format.h>
#include <onnx/defs/schema.h>

#include "format/onnx/edit.h"
#include "format/onnx/ranks.h"

namespace phiquant::format {
namespace {

// Operators whose versions since opset 11 only added types, or attributes and inputs that default
// to what was there before (ONNX's Changelog.md, opsets 11 to 24).
constexpr const char* kOnlyWidened[] = {
    "Abs",
    "Acos",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Atan",
    "AveragePool",
    "BatchNormalization",
    "BitShift",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Compress",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Cos",
    "CumSum",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "EyeLike",
    "Flatten",
    "Floor",
    "GRU",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "If",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "Loop",
    "LpNormalization",
    "LpPool",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Mean",
    "MeanVarianceNormalization",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "NonMaxSuppression",
    "NonZero",
    "Not",
    "OneHot",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "RNN",
    "Range",
    "Reciprocal",
    "Relu",
    "Reshape",
    "Resize",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Scan",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Size",
    "Slice",
    "Softplus",
    "SpaceToDepth",
    "Sqrt",
    "Sub",
    "Sum",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Where",
    "Xor",
};

int since_version(const std::string& op, int64_t opset) {
  const auto* schema = onnx::OpSchemaRegistry::Schema(op, static_cast<int>(opset), "");
  return schema && !schema->Deprecated() ? schema->SinceVersion() : -1;
}

// Of those, what took attributes for inputs or the like until then; and whatever is older than
// broadcasting by rule (7).
constexpr const char* kChangedBefore11[] = {
    "BatchNormalization", "Clip", "Pad", "Resize", "Scan", "Slice", "TopK"};

bool changed_before_11(const onnx::NodeProto& node, int64_t from) {
  if (from >= 11 || since_version(node.op_type(), from) == since_version(node.op_type(), 11))
    return false;
  return from < 7 || std::any_of(std::begin(kChangedBefore11), std::end(kChangedBefore11),
                                 [&](const char* op) { return node.op_type() == op; });
}

bool only_widened(const onnx::NodeProto& node) {
  const bool listed = std::any_of(std::begin(kOnlyWidened), std::end(kOnlyWidened),
                                  [&](const char* op) { return node.op_type() == op; });
  if (!listed) return false;
  if (node.op_type() == "Resize") {
    const auto* mode = find_attribute(node, "coordinate_transformation_mode");
    return !mode || mode->s() != "tf_half_pixel_for_nn";  // gone since 13
  }
  if (node.op_type() == "BatchNormalization")
    return node.output_size() == 1;  // training outputs changed
  return true;
}

// What moved from an attribute to an input, and since when.
struct Moved {
  const char* op;
  const char* attribute;
  int64_t since;
};
constexpr Moved kMoved[] = {
    {"Squeeze", "axes", 13},         {"Unsqueeze", "axes", 13},    {"ReduceSum", "axes", 13},
    {"Split", "split", 13},          {"ReduceMean", "axes", 18},   {"ReduceMax", "axes", 18},
    {"ReduceMin", "axes", 18},       {"ReduceProd", "axes", 18},   {"ReduceL1", "axes", 18},
    {"ReduceL2", "axes", 18},        {"ReduceLogSum", "axes", 18}, {"ReduceLogSumExp", "axes", 18},
    {"ReduceSumSquare", "axes", 18},
};

const Moved* moved(const onnx::NodeProto& node) {
  for (const Moved& m : kMoved)
    if (node.op_type() == m.op) return &m;
  return nullptr;
}

bool is_softmax(const onnx::NodeProto& node) {
  return is_op(node, "Softmax") || is_op(node, "LogSoftmax") || is_op(node, "Hardmax");
}

enum class Change { none, input, num_outputs, drop_ratio, region_corner, softmax, impossible };

Change change_of(const onnx::NodeProto& node, int64_t from, int64_t to) {
  const int before = since_version(node.op_type(), from), after = since_version(node.op_type(), to);
  if (before < 0 || after < 0) return Change::impossible;
  if (before == after) return Change::none;
  if (const Moved* m = moved(node)) {
    if (find_attribute(node, m->attribute) && from < m->since && to >= m->since)
      return Change::input;
    const bool bare_split = node.op_type() == std::string("Split") && node.input_size() < 2;
    return bare_split && to >= 18 ? Change::num_outputs : Change::none;
  }
  if (is_softmax(node)) return from < 13 && to >= 13 ? Change::softmax : Change::none;
  if (node.op_type() == "Dropout" && from >= 7 && from < 12 && to >= 12) return Change::drop_ratio;
  if (node.op_type() == "RoiAlign" && from < 16 && to >= 16) return Change::region_corner;
  return !changed_before_11(node, from) && only_widened(node) ? Change::none : Change::impossible;
}

void remove_attribute(onnx::NodeProto& node, const std::string& name) {
  auto& list = *node.mutable_attribute();
  for (int i = list.size() - 1; i >= 0; --i)
    if (list.Get(i).name() == name) list.DeleteSubrange(i, 1);
}

onnx::NodeProto& make_node(Editor& editor, onnx::NodeProto& node, const char* op,
                           const std::string& name, const std::vector<std::string>& inputs,
                           const std::string& output) {
  node.set_op_type(op);
  node.set_name(editor.node_name(name));
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

// Before opset 13 Softmax flattened its input to 2-D at `axis` and normalized the rows; since then
// it works along `axis`. The same where `axis` is the last one; elsewhere, and where that is not
// known, the old meaning is spelled out: Flatten, Softmax of the rows, Reshape.
void keep_softmax(Editor& editor, Scope& scope, onnx::NodeProto& node, const Ranks& ranks,
                  int64_t to) {
  const int64_t axis = int_attribute(node, "axis", 1);
  auto rank = ranks.of(scope, node.input(0));
  if (!rank) rank = ranks.of(scope, node.output(0));
  const bool last = axis == -1 || (rank && axis == *rank - 1);
  remove_attribute(node, "axis");
  add_int_attribute(node, "axis", -1);
  if (last) return;
  const std::string in = node.input(0), out = node.output(0),
                    name = node.name().empty() ? out : node.name();
  auto& shape = make_node(editor, editor.insert_before(scope, node), "Shape", name + "_shape", {in},
                          editor.value_name(out + "_shape"));
  auto& rows = make_node(editor, editor.insert_before(scope, node), "Flatten", name + "_flatten",
                         {in}, editor.value_name(out + "_rows"));
  add_int_attribute(rows, "axis", axis);
  node.set_input(0, rows.output(0));
  node.set_output(0, editor.value_name(out + "_normalized"));
  auto& back = make_node(editor, editor.insert_after(scope, node), "Reshape", name + "_reshape",
                         {node.output(0), shape.output(0)}, out);
  if (to >= 14)
    add_int_attribute(back, "allowzero", 1);  // empty tensors; older Reshapes have no way to say it
}

void move_to_input(Editor& editor, Scope& scope, onnx::NodeProto& node) {
  const char* name = moved(node)->attribute;
  const auto& list = find_attribute(node, name)->ints();
  const std::vector<int64_t> values(list.begin(), list.end());
  remove_attribute(node, name);
  const std::string base = node.name().empty() ? node.output(0) : node.name();
  node.add_input(editor.add_int64_vector(scope, base + "_" + name, values));
}

void add_string_attribute(onnx::NodeProto& node, const char* name, const char* value) {
  auto* a = node.add_attribute();
  a->set_name(name);
  a->set_type(onnx::AttributeProto::STRING);
  a->set_s(value);
}

void set_version(google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports,
                 int64_t version) {
  for (auto& import : imports)
    if ((import.domain().empty() || import.domain() == "ai.onnx") && import.version() < version)
      import.set_version(version);
}

}  // namespace

bool Editor::can_have_opset(int64_t version) const {
  const int64_t from = opset();
  if (from >= version) return true;
  for (const auto& scope : index->scopes())
    for (const auto& node : scope->nodes())
      if (is_standard(node) && change_of(node, from, version) == Change::impossible) return false;
  return true;
}

Result<void> Editor::require_opset(int64_t version, int64_t ir_version, const std::string& what) {
  const int64_t from = opset();
  if (from < version) {
    for (const auto& scope : index->scopes())
      for (const auto& node : scope->nodes())
        if (is_standard(node) && change_of(node, from, version) == Change::impossible)
          return Error{Errc::unsupported,
                       fmt::format("{}: {} needs opset {}, the model has {} and its {} node '{}' "
                                   "means something else there (export "
                                   "the model with opset {} or newer)",
                                   model.path.string(), what, version, from, node.op_type(),
                                   node.name(), version)};
    const Ranks ranks(*index);
    for (const auto& scope : index->scopes())
      for (auto& node : scope->nodes()) {
        if (!is_standard(node)) continue;
        const Change change = change_of(node, from, version);
        switch (change) {
          case Change::input:
            move_to_input(*this, *scope, node);
            break;
          case Change::num_outputs:
            add_int_attribute(node, "num_outputs", node.output_size());
            break;
          case Change::drop_ratio:
            remove_attribute(node, "ratio");
            break;  // of no use to inference; an input since 12
          case Change::region_corner:
            add_string_attribute(node, "coordinate_transformation_mode", "output_half_pixel");
            break;
          case Change::softmax:
            keep_softmax(*this, *scope, node, ranks, version);
            break;
          case Change::none:
          case Change::impossible:
            break;
        }
      }
    set_version(*model.proto.mutable_opset_import(), version);
    for (auto& function : *model.proto.mutable_functions())
      set_version(*function.mutable_opset_import(), version);
    warn(fmt::format("opset raised from {} to {}: {} needs it", from, version,
                     what.substr(0, what.find(" (or"))));
  }
  if (model.proto.ir_version() < ir_version) model.proto.set_ir_version(ir_version);
  return {};
}

}  // namespace phiquant::format
