// Gather of an embedding table to com.microsoft::GatherBlockQuantized. Names as ONNX Runtime's
// quantizer gives them. 4 bits: INT4 or UINT4 data of the table's shape, which needs opset 21. 8
// bits: uint8 data with bits = 8.
#include <fmt/format.h>

#include "format/onnx/rewrite.h"

namespace phiquant::format {
namespace {

DType code_dtype(const Choice& choice) {
  if (choice.params.bits == 8) return DType::u8;
  return choice.params.symmetric ? DType::i4 : DType::u4;
}

QuantizedNames add_table(Editor& editor, const Candidate& c, const Choice& choice,
                         WeightSource source) {
  const uint64_t blocks = (c.slot.k + choice.params.block_size - 1) / choice.params.block_size;
  const std::string& base = c.weight.base;
  Scope& scope = *c.weight.scope;
  QuantizedNames names;
  names.codes = editor.value_name(fmt::format("{}_Q{}", base, choice.params.bits));
  names.scales = editor.value_name(base + "_scales");
  const BlockForm form = block_form(c, choice);
  BlockJob job{std::move(source), form.kernel, form.params, kNoTensor, kNoTensor, kNoTensor};
  job.codes = editor.add_tensor(scope, c.weight.tensor, names.codes, code_dtype(choice),
                                {c.slot.n, c.slot.k});
  job.scales =
      editor.add_tensor(scope, c.weight.tensor, names.scales, c.weight.dtype, {c.slot.n, blocks});
  if (!choice.params.symmetric) {
    names.zero_points = editor.value_name(base + "_zero_points");
    job.zero_points = editor.add_tensor(scope, c.weight.tensor, names.zero_points,
                                        code_dtype(choice), {c.slot.n, blocks});
  }
  for (const TensorId id : {job.codes, job.scales, job.zero_points})
    if (id != kNoTensor) names.bytes += editor.plan.tensors[id].size_bytes;
  names.job = editor.add_job(std::move(job));
  return names;
}

}  // namespace

Result<QuantizedNames> rewrite_gather(Editor& editor, const Candidate& c, const Choice& choice,
                                      QuantizedCache& cache) {
  if (choice.params.bits == 4)
    PHIQUANT_TRY(editor.require_opset(21, 10, "--embeddings int4 (or try --embeddings int8)"));
  const QuantizedNames& names = cache.once(editor, c, choice, [&](WeightSource source) {
    return add_table(editor, c, choice, std::move(source));
  });
  const std::string table = c.node->input(0), indices = c.node->input(1);
  onnx::NodeProto& node = *c.node;
  node.set_op_type("GatherBlockQuantized");
  node.set_domain("com.microsoft");
  if (!node.name().empty())
    node.set_name(editor.node_name(fmt::format("{}_Q{}", node.name(), choice.params.bits)));
  node.clear_input();
  for (const std::string& input : {names.codes, indices, names.scales}) node.add_input(input);
  if (!names.zero_points.empty()) node.add_input(names.zero_points);
  node.clear_attribute();
  if (choice.params.bits == 8) add_int_attribute(node, "bits", 8);
  add_int_attribute(node, "block_size", choice.params.block_size);
  add_int_attribute(node, "gather_axis", 0);
  add_int_attribute(node, "quantize_axis", 1);
  editor.released(*c.scope, table);
  editor.require_domain(*c.scope, "com.microsoft", 1);
  return names;
}

}  // namespace phiquant::format
