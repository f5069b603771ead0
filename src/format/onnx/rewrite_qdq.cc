// Weights behind the standard DequantizeLinear. Each reader gets a DequantizeLinear of its own over
// shared codes, because runtimes fuse the pair only where it has one reader. Names: blocks as
// MatMulNBitsQuantizer with QuantFormat.QDQ (`<w>_DQ_Q4`, `<w>_DQ_scales`, `<w>_DQ_zero_points`,
// nodes
// `<old>_DQ_Q4`, `<old>_matmul_Q4`); one scale a channel or tensor as quantize_static
// (`<w>_quantized`, `<w>_scale`,
// `<w>_zero_point`, node `<w>_DequantizeLinear`).
#include <fmt/format.h>

#include "format/onnx/rewrite.h"

namespace phiquant::format {

QuantizedNames add_int8(Editor& editor, const Candidate& c, const Choice& choice,
                        WeightSource source, bool is_signed) {
  const std::string& base = c.weight.base;
  Scope& scope = *c.weight.scope;
  const Shape per_channel = choice.params.per_channel ? Shape{source.n} : Shape{};
  const DType dtype = is_signed ? DType::i8 : DType::u8;
  QuantizedNames names;
  names.codes = editor.value_name(base + "_quantized");
  names.scales = editor.value_name(base + "_scale");
  names.zero_points = editor.value_name(base + "_zero_point");
  Int8Job job{std::move(source),
              choice.params.per_channel,
              choice.params.symmetric,
              is_signed,
              false,
              kNoTensor,
              kNoTensor,
              kNoTensor};
  job.orientation = c.nk != c.weight.transposed ? Orientation::nk : Orientation::kn;
  job.codes = editor.add_tensor(scope, c.weight.tensor, names.codes, dtype, stored_shape(c.weight));
  job.scales = editor.add_tensor(scope, c.weight.tensor, names.scales, c.weight.dtype, per_channel);
  job.zero_points =
      editor.add_tensor(scope, c.weight.tensor, names.zero_points, dtype, per_channel);
  for (const TensorId id : {job.codes, job.scales, job.zero_points})
    names.bytes += editor.plan.tensors[id].size_bytes;
  names.job = editor.add_job(std::move(job));
  return names;
}

namespace {

DType block_dtype(const Choice& choice) {
  if (choice.params.bits == 8) return choice.params.symmetric ? DType::i8 : DType::u8;
  return choice.params.symmetric ? DType::i4 : DType::u4;
}

QuantizedNames add_blocks(Editor& editor, const Candidate& c, const Choice& choice,
                          WeightSource source) {
  const BlockForm form = block_form(c, choice);
  const uint64_t blocks = (c.slot.k + choice.params.block_size - 1) / choice.params.block_size;
  const bool table = c.slot.kind == SlotKind::table;
  const Shape shape = table ? Shape{c.slot.n, c.slot.k} : Shape{c.slot.k, c.slot.n};
  const Shape per_block = table ? Shape{c.slot.n, blocks} : Shape{blocks, c.slot.n};
  const std::string& base = c.weight.base;
  Scope& scope = *c.scope;
  QuantizedNames names;
  names.codes = editor.value_name(fmt::format("{}_DQ_Q{}", base, choice.params.bits));
  names.scales = editor.value_name(base + "_DQ_scales");
  BlockJob job{std::move(source), form.kernel, form.params, kNoTensor, kNoTensor, kNoTensor};
  job.codes = editor.add_tensor(scope, c.weight.tensor, names.codes, block_dtype(choice), shape);
  job.scales = editor.add_tensor(scope, c.weight.tensor, names.scales, c.weight.dtype, per_block);
  if (!choice.params.symmetric) {
    names.zero_points = editor.value_name(base + "_DQ_zero_points");
    job.zero_points = editor.add_tensor(scope, c.weight.tensor, names.zero_points,
                                        block_dtype(choice), per_block);
  }
  for (const TensorId id : {job.codes, job.scales, job.zero_points})
    if (id != kNoTensor) names.bytes += editor.plan.tensors[id].size_bytes;
  names.job = editor.add_job(std::move(job));
  return names;
}

// The input of `c` reads `value` instead of its weight.
void connect(Editor& editor, const Candidate& c, const std::string& value) {
  editor.released(*c.scope, c.node->input(c.input));
  c.node->set_input(c.input, value);
}

void set_or_remove_trans_b(onnx::NodeProto& gemm, bool on) {
  auto& list = *gemm.mutable_attribute();
  for (int i = list.size() - 1; i >= 0; --i)
    if (list.Get(i).name() == "transB") list.DeleteSubrange(i, 1);
  if (on) add_int_attribute(gemm, "transB", 1);
}

onnx::NodeProto& add_dequantize(Editor& editor, const Candidate& c, const QuantizedNames& names,
                                const std::string& name, const std::string& output,
                                std::optional<int64_t> axis, uint32_t block_size) {
  onnx::NodeProto& node = editor.insert_before(*c.scope, *c.node);
  node.set_op_type("DequantizeLinear");
  node.set_name(editor.node_name(name));
  node.add_input(names.codes);
  node.add_input(names.scales);
  if (!names.zero_points.empty()) node.add_input(names.zero_points);
  node.add_output(editor.value_name(output));
  if (axis) add_int_attribute(node, "axis", *axis);
  if (block_size != 0) add_int_attribute(node, "block_size", block_size);
  return node;
}

Result<QuantizedNames> rewrite_blocks(Editor& editor, const Candidate& c, const Choice& choice,
                                      QuantizedCache& cache) {
  PHIQUANT_TRY(editor.require_opset(21, 10,
                                    "blocked DequantizeLinear (or try --style contrib, or "
                                    "--precision int8 --scheme qdq_channel)"));
  const QuantizedNames& names = cache.once(editor, c, choice, [&](WeightSource source) {
    return add_blocks(editor, c, choice, std::move(source));
  });
  const std::string suffix = fmt::format("_Q{}", choice.params.bits), old_name = c.node->name();
  const bool table = c.slot.kind == SlotKind::table;
  const auto& dq =
      add_dequantize(editor, c, names, old_name.empty() ? "" : old_name + "_DQ" + suffix,
                     names.codes + "_output", table ? 1 : 0, choice.params.block_size);
  connect(editor, c, dq.output(0));
  if (c.node->op_type() == "Gemm") set_or_remove_trans_b(*c.node, false);
  if (c.node->op_type() == "MatMul" && !old_name.empty())
    c.node->set_name(editor.node_name(old_name + "_matmul" + suffix));
  return names;
}

// The opset that the form needs: a scale a channel since 13, scales of 16-bit floats since 19.
Result<void> require_int8_opset(Editor& editor, const Candidate& c, const Choice& choice) {
  const bool narrow = c.weight.dtype != DType::f32;
  if (!narrow && !choice.params.per_channel)
    return editor.require_opset(10, editor.can_have_opset(13) ? 7 : 5, "DequantizeLinear");
  return editor.require_opset(narrow ? 19 : 13, narrow ? 9 : 7,
                              "DequantizeLinear with a scale per channel");
}

Result<QuantizedNames> rewrite_int8(Editor& editor, const Candidate& c, const Choice& choice,
                                    QuantizedCache& cache) {
  PHIQUANT_TRY(require_int8_opset(editor, c, choice));
  const QuantizedNames& names = cache.once(editor, c, choice, [&](WeightSource source) {
    return add_int8(editor, c, choice, std::move(source), true);
  });
  const bool stored_nk = c.nk != c.weight.transposed;
  std::optional<int64_t> axis;
  if (choice.params.per_channel) axis = stored_nk ? 0 : 1;
  std::string value = add_dequantize(editor, c, names, c.weight.base + "_DequantizeLinear",
                                     c.weight.base + "_DequantizeLinear_Output", axis, 0)
                          .output(0);
  if (c.weight.transposed && c.node->op_type() == "Gemm") {
    set_or_remove_trans_b(*c.node, !c.nk);
  } else if (c.weight.transposed) {
    onnx::NodeProto& turn = editor.insert_before(*c.scope, *c.node);
    turn.set_op_type("Transpose");
    turn.set_name(editor.node_name(value + "_transpose"));
    turn.add_input(value);
    value = editor.value_name(value + "_transposed");
    turn.add_output(value);
    auto* perm = turn.add_attribute();
    perm->set_name("perm");
    perm->set_type(onnx::AttributeProto::INTS);
    perm->add_ints(1);
    perm->add_ints(0);
  }
  connect(editor, c, value);
  return names;
}

}  // namespace

Result<QuantizedNames> rewrite_qdq(Editor& editor, const Candidate& c, const Choice& choice,
                                   QuantizedCache& cache) {
  return choice.encoding->layout == Layout::qdq_blocks ? rewrite_blocks(editor, c, choice, cache)
                                                       : rewrite_int8(editor, c, choice, cache);
}

}  // namespace phiquant::format
