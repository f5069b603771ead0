// Rotary caches. Angles are formed in float32 as transformers and the model builder form them:
// inverse frequency 1 / (factor * theta^(2i / dims)), position times that, then cosine and sine,
// then the attention factor.
#include <cmath>
#include <vector>

#include "core/sources.h"
#include "format/decoder/genai_inputs.h"
#include "format/decoder/onnx_parts.h"
#include "quant/numeric/sin_cos.h"

namespace phiquant::format {
namespace {

std::vector<float> inverse_frequencies(const Rope& rope, const RopeBranch& branch) {
  std::vector<float> out;
  for (uint32_t i = 0; i < rope.dims / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope.dims);
    const float power = static_cast<float>(std::pow(rope.theta, static_cast<double>(exponent)));
    out.push_back(1.0f / (branch.factors[i] * power));
  }
  return out;
}

// A Constant node and the output that returns it, in a body of the If.
void add_table(GraphWriter& w, onnx::GraphProto& body, const std::string& size, const char* kind,
               SourceTensor table) {
  const std::string name = std::string(kind) + "_cache_" + size;
  onnx::NodeProto& node = *body.add_node();
  node.set_op_type("Constant");
  node.set_name("/" + size + "/" + kind + "_cache/Constant");
  node.add_output(name);
  auto* a = node.add_attribute();
  a->set_name("value");
  a->set_type(onnx::AttributeProto::TENSOR);
  *a->mutable_t() = make_tensor("", w.io, table.shape);
  fill_value_info(*body.add_output(), name, w.io,
                  {std::to_string(table.shape[0]), std::to_string(table.shape[1])});
  table.name = name;
  w.editor().set_source(*a->mutable_t(), std::move(table));
}

void add_branch(GraphWriter& w, onnx::NodeProto& node, const char* attribute,
                const std::string& size, const RopeBranch& branch, uint64_t length) {
  auto* a = node.add_attribute();
  a->set_name(attribute);
  a->set_type(onnx::AttributeProto::GRAPH);
  a->mutable_g()->set_name(size + "_rope_caches_graph");
  for (const bool is_cos : {true, false})
    add_table(w, *a->mutable_g(), size, is_cos ? "cos" : "sin",
              rope_table(w.decoder.rope, branch, length, is_cos, ""));
}

}  // namespace

SourceTensor rope_table(const Rope& rope, const RopeBranch& branch, uint64_t length, bool is_cos,
                        const std::string& name) {
  const std::vector<float> inverse = inverse_frequencies(rope, branch);
  const float scale = branch.attention_factor;
  const auto fill = [inverse, scale, is_cos](uint64_t first, std::span<float> out) {
    uint64_t position = first / inverse.size();
    size_t i = static_cast<size_t>(first % inverse.size());
    for (float& value : out) {
      value = static_cast<float>(position) * inverse[i];
      if (++i == inverse.size()) i = 0, ++position;
    }
    (is_cos ? nearest_cos : nearest_sin)(out.data(), out.size(), out.data());
    for (float& value : out) value *= scale;
  };
  const uint64_t n = inverse.size();
  return {name, DType::f32, {length, n}, computed_source(length * n, fill)};
}

void write_rope(GraphWriter& w, SharedInputs& shared) {
  const Rope& rope = w.decoder.rope;
  shared.cos_cache = "cos_cache";
  shared.sin_cache = "sin_cache";
  const uint64_t context = w.decoder.context, original = rope.original_context;
  if (!rope.long_branch || !w.target.has_if) {
    for (const bool is_cos : {true, false}) {
      const std::string name = is_cos ? "cos_cache" : "sin_cache";
      SourceTensor table =
          rope_table(rope, rope.short_branch, rope.long_branch ? original : context, is_cos, name);
      if (rope.long_branch)
        table =
            concat_rows(name, {table, rope_table(rope, *rope.long_branch, context, is_cos, name)});
      w.initializer(name, std::move(table));
    }
    return;
  }
  const std::string base = "/model/rope_caches_subgraph";
  const std::string is_long =
      w.add("Greater", base + "/Greater",
            {shared.total_length_int64, w.int64(static_cast<int64_t>(original))});
  onnx::NodeProto& node =
      w.node("If", base + "/If", {is_long}, {shared.cos_cache, shared.sin_cache});
  add_branch(w, node, "then_branch", "large", *rope.long_branch, context);
  add_branch(w, node, "else_branch", "small", rope.short_branch, original);
}

}  // namespace phiquant::format
