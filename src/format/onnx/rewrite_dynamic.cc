// MatMul, Gemm and Conv to DynamicQuantizeLinear + MatMulInteger or ConvInteger, Gather to a Gather
// of int8 codes: graph and names as onnxruntime's quantize_dynamic makes them.
#include <fmt/format.h>

#include "format/onnx/rewrite.h"

namespace phiquant::format {
namespace {

onnx::NodeProto& add_node(Editor& editor, const Candidate& c, const char* op,
                          const std::string& name, const std::vector<std::string>& inputs,
                          const std::string& output) {
  onnx::NodeProto& node = editor.insert_before(*c.scope, *c.node);
  node.set_op_type(op);
  node.set_name(editor.node_name(name));
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  return node;
}

struct Activation {
  std::string codes, scale, zero_point;
};

// Quantizes the activation once for all its readers in a scope.
Activation quantize_activation(Editor& editor, const Candidate& c, QuantizedCache& cache) {
  const std::string& name = c.node->input(0);
  auto [it, added] = cache.activations.try_emplace({c.scope, name});
  if (added) {
    it->second = {editor.value_name(name + "_quantized"), editor.value_name(name + "_scale"),
                  editor.value_name(name + "_zero_point")};
    auto& node = add_node(editor, c, "DynamicQuantizeLinear", name + "_QuantizeLinear", {name},
                          it->second[0]);
    node.add_output(it->second[1]);
    node.add_output(it->second[2]);
  }
  return {it->second[0], it->second[1], it->second[2]};
}

// Codes as the integer operator wants them, [K, N]: stored [N, K] codes are turned by a node, which
// runtimes fold.
std::string codes_kn(Editor& editor, const Candidate& c, const QuantizedNames& names) {
  if (c.slot.kind == SlotKind::conv || c.nk == c.weight.transposed) return names.codes;
  auto& node = add_node(editor, c, "Transpose", names.codes + "_transpose", {names.codes},
                        editor.value_name(names.codes + "_transposed"));
  auto* perm = node.add_attribute();
  perm->set_name("perm");
  perm->set_type(onnx::AttributeProto::INTS);
  perm->add_ints(1);
  perm->add_ints(0);
  return node.output(0);
}

// Cast and the two Muls behind an integer product; the node itself becomes the last Mul.
void scale_output(Editor& editor, const Candidate& c, const Activation& a, const QuantizedNames& w,
                  const std::string& integer_name, const std::string& integer_output,
                  const std::string& output) {
  const std::string cast_output = editor.value_name(integer_output + "_cast_output");
  auto& cast = add_node(editor, c, "Cast", integer_output + "_cast", {integer_output}, cast_output);
  add_int_attribute(cast, "to", onnx::TensorProto::FLOAT);
  const std::string scales =
      integer_name.empty() ? a.scale + "_" + w.scales + "_mul" : integer_name + "_scales_mul";
  const std::string scales_output = editor.value_name(scales + ":0");
  add_node(editor, c, "Mul", scales, {a.scale, w.scales}, scales_output);
  onnx::NodeProto& node = *c.node;
  node.set_op_type("Mul");
  node.set_name(integer_name.empty() ? "" : editor.node_name(integer_name + "_output_scale_mul"));
  node.clear_attribute();
  node.clear_input();
  node.add_input(cast_output);
  node.add_input(scales_output);
  node.set_output(0, output);
}

// Conv's bias behind the scaled output, reshaped to broadcast over the spatial axes.
void add_conv_bias(Editor& editor, const Candidate& c, const onnx::NodeProto& conv,
                   const std::string& scaled) {
  std::vector<int64_t> shape(c.weight.shape.size(), 1);
  shape[1] = -1;
  const std::string& out = conv.output(0);
  const std::string shape_name =
      editor.add_int64_vector(*c.scope, out + "_bias_reshape_shape", shape);
  onnx::NodeProto& reshape = editor.insert_after(*c.scope, *c.node);
  reshape.set_op_type("Reshape");
  reshape.set_name(editor.node_name(out + "_bias_reshape"));
  reshape.add_input(conv.input(2));
  reshape.add_input(shape_name);
  reshape.add_output(editor.value_name(out + "_bias_reshape_output"));
  onnx::NodeProto& add = editor.insert_after(*c.scope, *c.node);
  add.set_op_type("Add");
  add.set_name(editor.node_name(out + "_bias_add"));
  add.add_input(scaled);
  add.add_input(reshape.output(0));
  add.add_output(out);
}

void rewrite_product(Editor& editor, const Candidate& c, const QuantizedNames& w,
                     QuantizedCache& cache) {
  const onnx::NodeProto old = *c.node;
  const bool conv = old.op_type() == "Conv", gemm = old.op_type() == "Gemm";
  const Activation a = quantize_activation(editor, c, cache);
  const std::string integer_name = old.name().empty() ? "" : old.name() + "_quant";
  const std::string integer_output = editor.value_name(old.output(0) + "_output_quantized");
  auto& integer =
      add_node(editor, c, conv ? "ConvInteger" : "MatMulInteger", integer_name,
               {a.codes, codes_kn(editor, c, w), a.zero_point, w.zero_points}, integer_output);
  if (conv) *integer.mutable_attribute() = old.attribute();
  const bool bias = old.input_size() > 2 && !old.input(2).empty();
  const bool scaled = gemm && float_attribute(old, "alpha", 1.0f) != 1.0f;
  std::string output = old.output(0);
  if (conv && bias) output = editor.value_name(output + "quant_scaled_output");
  if (gemm && (bias || scaled)) output = editor.value_name(output + "_matmul");
  scale_output(editor, c, a, w, integer_name, integer_output, output);
  if (conv && bias) add_conv_bias(editor, c, old, output);
  if (gemm && (bias || scaled)) finish_gemm(editor, c, old, output, "");
  editor.released(*c.scope, old.input(c.input));
}

void rewrite_table(Editor& editor, const Candidate& c, const QuantizedNames& w) {
  const std::string out = c.node->output(0), codes = editor.value_name(out + "_quantized");
  editor.released(*c.scope, c.node->input(0));
  c.node->set_input(0, w.codes);
  c.node->set_output(0, codes);
  onnx::NodeProto& dq = editor.insert_after(*c.scope, *c.node);
  dq.set_op_type("DequantizeLinear");
  dq.set_name(editor.node_name(out + "_DequantizeLinear"));
  for (const std::string& input : {codes, w.scales, w.zero_points}) dq.add_input(input);
  dq.add_output(out);
}

}  // namespace

Result<QuantizedNames> rewrite_dynamic(Editor& editor, const Candidate& c, const Choice& choice,
                                       QuantizedCache& cache) {
  PHIQUANT_TRY(editor.require_opset(11, 6, "DynamicQuantizeLinear"));
  const QuantizedNames& names = cache.once(editor, c, choice, [&](WeightSource source) {
    // As quantize_dynamic: QInt8 is symmetric, QUInt8 is not.
    return add_int8(editor, c, choice, std::move(source), choice.params.symmetric);
  });
  if (c.slot.kind == SlotKind::table)
    rewrite_table(editor, c, names);
  else
    rewrite_product(editor, c, names, cache);
  return names;
}

}  // namespace phiquant::format
