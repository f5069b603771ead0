// Gather of an embedding table to com.microsoft::GatherBlockQuantized. Names as ONNX Runtime's
// quantizer gives them. 4 bits: INT4 or UINT4 data of the table's shape, which needs opset 21. 8
// bits: uint8 data with bits = 8.
#include <fmt/format.h>

#include "format/onnx_rewrite.h"

namespace phiquant::format {
namespace {

DType code_dtype(const Treatment& t) {
  if (t.params.bits == 8) return DType::u8;
  return t.params.symmetric ? DType::i4 : DType::u4;
}

QuantizedNames add_table(Editor& editor, const Candidate& c, const Treatment& t,
                         WeightSource source) {
  const uint64_t blocks = (c.k + t.params.block_size - 1) / t.params.block_size;
  const std::string& base = c.weight.base;
  Scope& scope = *c.weight.scope;
  QuantizedNames names;
  names.codes = editor.value_name(fmt::format("{}_Q{}", base, t.params.bits));
  names.scales = editor.value_name(base + "_scales");
  BlockJob job{std::move(source), t.scheme, t.params, kNoTensor, kNoTensor, kNoTensor};
  job.codes = editor.add_tensor(scope, c.weight.tensor, names.codes, code_dtype(t), {c.n, c.k});
  job.scales =
      editor.add_tensor(scope, c.weight.tensor, names.scales, c.weight.dtype, {c.n, blocks});
  if (!t.params.symmetric) {
    names.zero_points = editor.value_name(base + "_zero_points");
    job.zero_points =
        editor.add_tensor(scope, c.weight.tensor, names.zero_points, code_dtype(t), {c.n, blocks});
  }
  for (const TensorId id : {job.codes, job.scales, job.zero_points})
    if (id != kNoTensor) names.bytes += editor.plan.tensors[id].size_bytes;
  names.job = editor.add_job(std::move(job));
  return names;
}

}  // namespace

Result<std::optional<QuantizedNames>> rewrite_gather(Editor& editor, const Candidate& c,
                                                     Treatment& t, QuantizedCache& cache) {
  if (t.params.bits == 4)
    PHIQUANT_TRY(editor.require_opset(21, 10, "--embeddings int4 (or try --embeddings int8)"));
  const QuantizedNames* made = cache.once(editor, c, t, [&](WeightSource source) {
    return add_table(editor, c, t, std::move(source));
  });
  if (!made) return std::optional<QuantizedNames>();
  const QuantizedNames& names = *made;
  const std::string table = c.node->input(0), indices = c.node->input(1);
  onnx::NodeProto& node = *c.node;
  node.set_op_type("GatherBlockQuantized");
  node.set_domain("com.microsoft");
  if (!node.name().empty())
    node.set_name(editor.node_name(fmt::format("{}_Q{}", node.name(), t.params.bits)));
  node.clear_input();
  for (const std::string& input : {names.codes, indices, names.scales}) node.add_input(input);
  if (!names.zero_points.empty()) node.add_input(names.zero_points);
  node.clear_attribute();
  if (t.params.bits == 8) add_int_attribute(node, "bits", 8);
  add_int_attribute(node, "block_size", t.params.block_size);
  add_int_attribute(node, "gather_axis", 0);
  add_int_attribute(node, "quantize_axis", 1);
  editor.released(*c.scope, table);
  editor.require_domain(*c.scope, "com.microsoft", 1);
  return std::optional(names);
}

}  // namespace phiquant::format
