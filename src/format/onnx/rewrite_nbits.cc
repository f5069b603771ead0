// MatMul and Gemm to com.microsoft::MatMulNBits. Names as ONNX Runtime's quantizers give them: node
// `<old>_Q4`; weights `<w>_Q4`, `<w>_scales`, `<w>_zero_points`, and for RTN and k_quant
// `<w>_Q4G32`, `<w>_scale`, `<w>_zp`.
#include <fmt/format.h>

#include "format/onnx/rewrite.h"

namespace phiquant::format {

QuantizedCache::Key QuantizedCache::key(const Candidate& c, const Choice& choice) {
  return {
      c.weight.tensor,         choice.encoding->layout == Layout::qdq_blocks ? c.scope : nullptr,
      choice.encoding->layout, action_of(choice),
      choice.params.bits,      choice.params.block_size,
      choice.params.symmetric, c.nk != c.weight.transposed,
      c.weight.dtype};
}

BlockForm block_form(const Candidate& c, const Choice& choice) {
  const Scheme* kernel =
      block_kernel(*choice.encoding, *choice.method, c.slot.kind == SlotKind::table);
  return {kernel,
          {choice.params.bits, choice.params.block_size, choice.params.symmetric, c.weight.dtype}};
}

namespace {

uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

QuantizedNames add_nbits_tensors(Editor& editor, const Candidate& c, const Choice& choice,
                                 WeightSource source) {
  const BlockForm form = block_form(c, choice);
  const bool grouped_names = form.kernel->name == "rtn" || form.kernel->name == "k_quant";
  const unsigned bits = form.params.bits;
  const uint64_t blocks = ceil_div(c.slot.k, form.params.block_size);
  const std::string& base = c.weight.base;
  Scope& scope = *c.weight.scope;
  const auto* near = c.weight.tensor;
  QuantizedNames names;
  names.codes =
      editor.value_name(grouped_names ? fmt::format("{}_Q{}G{}", base, bits, form.params.block_size)
                                      : fmt::format("{}_Q{}", base, bits));
  names.scales = editor.value_name(base + (grouped_names ? "_scale" : "_scales"));
  BlockJob job{std::move(source), form.kernel, form.params, kNoTensor, kNoTensor, kNoTensor};
  job.codes = editor.add_tensor(scope, near, names.codes, DType::u8,
                                {c.slot.n, blocks, uint64_t{form.params.block_size} * bits / 8});
  job.scales = editor.add_tensor(scope, near, names.scales, c.weight.dtype, {c.slot.n, blocks});
  if (form.writes_zero_points()) {
    names.zero_points = editor.value_name(base + (grouped_names ? "_zp" : "_zero_points"));
    job.zero_points =
        form.kernel->float_zero_points
            ? editor.add_tensor(scope, near, names.zero_points, c.weight.dtype, {c.slot.n, blocks})
            : editor.add_tensor(scope, near, names.zero_points, DType::u8,
                                {c.slot.n, ceil_div(blocks * bits, 8)});
  }
  for (const TensorId id : {job.codes, job.scales, job.zero_points})
    if (id != kNoTensor) names.bytes += editor.plan.tensors[id].size_bytes;
  names.job = editor.add_job(std::move(job));
  return names;
}

}  // namespace

void finish_gemm(Editor& editor, const Candidate& c, const onnx::NodeProto& gemm,
                 std::string product, const std::string& suffix) {
  const float alpha = float_attribute(gemm, "alpha", 1.0f),
              beta = float_attribute(gemm, "beta", 1.0f);
  const bool has_c = gemm.input_size() > 2 && !gemm.input(2).empty() && beta != 0.0f;
  const std::string out = gemm.output(0),
                    prefix = (gemm.name().empty() ? out : gemm.name()) + suffix;
  const auto add_node = [&](const char* op, const std::string& a, const std::string& b,
                            const char* part, bool last) {
    onnx::NodeProto& node = editor.insert_after(*c.scope, *c.node);
    node.set_op_type(op);
    node.set_name(editor.node_name(prefix + part));
    node.add_input(a);
    node.add_input(b);
    const std::string name = last ? out : editor.value_name(out + part);
    node.add_output(name);
    return name;
  };
  if (alpha != 1.0f) {
    const std::string factor =
        editor.add_float_scalar(*c.scope, prefix + "_alpha", c.weight.dtype, alpha);
    product = add_node("Mul", product, factor, "_scaled", !has_c);
  }
  if (!has_c) return;
  std::string bias = gemm.input(2);
  if (beta != 1.0f) {
    const std::string factor =
        editor.add_float_scalar(*c.scope, prefix + "_beta", c.weight.dtype, beta);
    bias = add_node("Mul", bias, factor, "_bias_scaled", false);
  }
  add_node("Add", product, bias, "_bias_add", true);
}

// True where a Gemm is more than a product, so that nodes must follow it.
static bool has_epilogue(const onnx::NodeProto& node) {
  if (node.op_type() != "Gemm") return false;
  const bool has_c = node.input_size() > 2 && !node.input(2).empty() &&
                     float_attribute(node, "beta", 1.0f) != 0.0f;
  return has_c || float_attribute(node, "alpha", 1.0f) != 1.0f;
}

Result<QuantizedNames> rewrite_nbits(Editor& editor, const Candidate& c, const Choice& choice,
                                     int accuracy_level, QuantizedCache& cache) {
  const QuantizedNames& names = cache.once(editor, c, choice, [&](WeightSource source) {
    return add_nbits_tensors(editor, c, choice, std::move(source));
  });
  const onnx::NodeProto old = *c.node;
  const std::string suffix = fmt::format("_Q{}", choice.params.bits);
  onnx::NodeProto& node = *c.node;
  node.set_op_type("MatMulNBits");
  node.set_domain("com.microsoft");
  node.set_name(old.name().empty() ? "" : editor.node_name(old.name() + suffix));
  node.clear_input();
  node.add_input(old.input(0));
  node.add_input(names.codes);
  node.add_input(names.scales);
  if (!names.zero_points.empty()) node.add_input(names.zero_points);
  node.clear_attribute();
  add_int_attribute(node, "K", static_cast<int64_t>(c.slot.k));
  add_int_attribute(node, "N", static_cast<int64_t>(c.slot.n));
  if (accuracy_level > 0) add_int_attribute(node, "accuracy_level", accuracy_level);
  add_int_attribute(node, "bits", choice.params.bits);
  add_int_attribute(node, "block_size", choice.params.block_size);
  if (has_epilogue(old)) {
    const std::string product = editor.value_name(old.output(0) + "_matmul");
    node.set_output(0, product);
    finish_gemm(editor, c, old, product, suffix);
  }
  if (old.op_type() == "Gemm" && old.input_size() > 2) editor.released(*c.scope, old.input(2));
  editor.released(*c.scope, old.input(c.input));
  editor.require_domain(*c.scope, "com.microsoft", 1);
  return names;
}

}  // namespace phiquant::format
