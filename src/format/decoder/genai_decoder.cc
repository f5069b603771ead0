#include "format/decoder/genai_decoder.h"

#include <limits>

#include <fmt/format.h>

#include "core/input_file.h"

namespace phiquant::format {

namespace {

const char* const kMaskPath = "/model/attn_mask_reformat/attn_mask_subgraph";

// Long rope without If: both tables lie one below the other, and positions past the original
// context are shifted.
std::string shifted_positions(GraphWriter& w) {
  const std::string base = "/model/pos_ids_reformat";
  const std::string largest = base + "/ReduceMax/output_0";
  add_int_attribute(w.node("ReduceMax", base + "/ReduceMax", {"position_ids"}, {largest}),
                    "keepdims", 0);
  const std::string context = w.int64(static_cast<int64_t>(w.decoder.rope.original_context));
  const std::string is_long = w.add("GreaterOrEqual", base + "/GreaterOrEqual", {largest, context});
  const std::string as_int = w.cast(base + "/Cast", is_long, DType::i64);
  const std::string shift = w.add("Mul", base + "/Mul", {as_int, context});
  return w.add("Add", base + "/Add_1", {shift, "position_ids"});
}

std::string write_total_length(GraphWriter& w) {
  const std::string shape = w.add("Shape", fmt::format("{}/Shape", kMaskPath), {"attention_mask"});
  const std::string one = w.int64(1), out = fmt::format("{}/Gather/output_0", kMaskPath);
  add_int_attribute(w.node("Gather", fmt::format("{}/Gather", kMaskPath), {shape, one}, {out}),
                    "axis", 0);
  return out;
}

void write_lengths(GraphWriter& w, SharedInputs& shared) {
  const std::string one = w.int64s({1}), sum = fmt::format("{}/ReduceSum/output_0", kMaskPath);
  add_int_attribute(
      w.node("ReduceSum", fmt::format("{}/ReduceSum", kMaskPath), {"attention_mask", one}, {sum}),
      "keepdims", 0);
  const std::string less_one = w.add("Sub", fmt::format("{}/Sub", kMaskPath), {sum, one});
  shared.seqlens_k = w.cast(fmt::format("{}/Sub/Cast", kMaskPath), less_one, DType::i32);
  if (w.decoder.block_sparse)
    shared.key_lengths = w.cast(fmt::format("{}/ReduceSum/Cast", kMaskPath), sum, DType::i32);
}

bool scales_logits(const Decoder& d) { return d.logit_scale != 1 || !d.unused_tokens.empty(); }

// Logits of float32 or float16 times the model's scale; those of unused tokens become the lowest
// number.
void scale_logits(GraphWriter& w, std::string logits, DType dtype) {
  const Decoder& d = w.decoder;
  if (d.logit_scale != 1)
    logits = w.add("Mul", "/lm_head/Mul", {logits, w.scalar(dtype, d.logit_scale)});
  if (d.unused_tokens.empty()) return;
  std::string is_unused(d.vocab, '\0');
  for (const uint32_t id : d.unused_tokens) is_unused[id] = 1;
  const std::string mask =
      w.table("logits_mask",
              {"logits_mask", DType::boolean, {d.vocab}, memory_source(std::move(is_unused))});
  const float lowest = dtype == DType::f16 ? -65504.0f : std::numeric_limits<float>::lowest();
  w.add("Where", "/lm_head/Where", {mask, w.scalar(dtype, lowest), logits});
}

// x + attention(norm(x)) + mlp(norm(x)): both read one norm, their sum is what the next norm adds.
std::string write_parallel_layer(GraphWriter& w, int32_t layer, const std::string& normalized,
                                 const SharedInputs& shared) {
  const std::string attention = write_attention(w, layer, normalized, shared);
  const std::string mlp = write_mlp(w, layer, normalized);
  return w.add("Add", layer_path(layer, "residual_add/Add"), {attention, mlp});
}

}  // namespace

void write_head(GraphWriter& w, const std::string& input) {
  // GenAI samples from float32 or float16 logits.
  const bool widens = w.io == DType::bf16, is_last = !widens && !scales_logits(w.decoder);
  std::string out = w.linear({Role::lm_head}, input, is_last ? "logits" : "");
  if (is_last) return;
  if (widens) out = w.cast("/lm_head/Cast", out, DType::f32);
  scale_logits(w, out, widens ? DType::f32 : w.io);
  // The last node's output is the graph's.
  w.graph().mutable_node(w.graph().node_size() - 1)->set_output(0, "logits");
}

void write_interface(GraphWriter& w) {
  const Decoder& d = w.decoder;
  w.input("input_ids", DType::i64, {"batch_size", "sequence_length"});
  w.input("attention_mask", DType::i64, {"batch_size", "total_sequence_length"});
  if (!w.target.rotary_in_attention)
    w.input("position_ids", DType::i64, {"batch_size", "sequence_length"});
  w.output("logits", w.io == DType::bf16 ? DType::f32 : w.io,
           {"batch_size", "sequence_length", std::to_string(d.vocab)});
  const std::string heads = std::to_string(d.n_kv_heads);
  for (const char* kind : {"key", "value"})
    for (uint32_t i = 0; i < d.n_layers; ++i) {
      w.input(fmt::format("past_key_values.{}.{}", i, kind), w.io,
              {"batch_size", heads, "past_sequence_length", "kv_cache_dim"});
      w.output(fmt::format("present.{}.{}", i, kind), w.io,
               {"batch_size", heads, "total_sequence_length", "kv_cache_dim"});
    }
}

SharedInputs write_preprocessing(GraphWriter& w) {
  SharedInputs shared;
  if (!w.target.rotary_in_attention)
    shared.position_ids =
        w.decoder.rope.long_branch && !w.target.has_if ? shifted_positions(w) : "position_ids";
  shared.total_length_int64 = write_total_length(w);
  write_rope(w, shared);
  write_lengths(w, shared);
  shared.total_length =
      w.cast(fmt::format("{}/Gather/Cast", kMaskPath), shared.total_length_int64, DType::i32);
  if (w.decoder.block_sparse) write_block_mask(w, shared);
  return shared;
}

std::string write_embedding(GraphWriter& w) {
  const std::string rows = w.embedding("input_ids");
  if (w.decoder.embedding_scale == 1) return rows;
  return w.add("Mul", "/model/embed_tokens/Mul", {rows, w.float_scalar(w.decoder.embedding_scale)});
}

NormOutputs write_norm(GraphWriter& w, const std::string& name, Role role, int32_t layer,
                       const std::string& input, const std::string& skip, bool want_sum) {
  const bool simple = w.decoder.norm == NormKind::rms;
  const std::string path = "/model/" + name, prefix = "model." + dotted(name);
  std::vector<std::string> inputs = {input};
  if (!skip.empty()) inputs.push_back(skip);
  inputs.push_back(w.vector({role, layer}, prefix + ".weight"));
  if (!simple && w.has(role, layer, true))
    inputs.push_back(w.vector({role, layer, -1, true}, prefix + ".bias"));
  NormOutputs out{path + "/output_0", ""};
  if (skip.empty()) {
    onnx::NodeProto& n = w.node(simple ? "SimplifiedLayerNormalization" : "LayerNormalization",
                                path + "/LayerNorm", inputs, {out.normalized});
    set_float(n, "epsilon", w.decoder.norm_eps);
    add_int_attribute(n, "axis", -1);
    add_int_attribute(n, "stash_type", 1);
    out.sum = input;
    return out;
  }
  std::vector<std::string> outputs = {out.normalized};
  if (want_sum) {
    out.sum = path + "/output_3";
    outputs.insert(outputs.end(), {"", "", out.sum});
  }
  set_float(w.node(simple ? "SkipSimplifiedLayerNormalization" : "SkipLayerNormalization",
                   path + "/SkipLayerNorm", inputs, outputs, "com.microsoft"),
            "epsilon", w.decoder.norm_eps);
  return out;
}

void write_decoder(GraphWriter& w) {
  const Decoder& d = w.decoder;
  write_interface(w);
  const SharedInputs shared = write_preprocessing(w);
  std::string residual = write_embedding(w), update;
  const auto n_layers = static_cast<int32_t>(d.n_layers);
  for (int32_t i = 0; i < n_layers; ++i) {
    const NormOutputs first = write_norm(w, fmt::format("layers.{}/input_layernorm", i),
                                         Role::attn_norm, i, residual, update, true);
    residual = first.sum;
    if (d.parallel_residual) {
      update = write_parallel_layer(w, i, first.normalized, shared);
      continue;
    }
    update = write_attention(w, i, first.normalized, shared);
    const NormOutputs second = write_norm(w, fmt::format("layers.{}/post_attention_layernorm", i),
                                          Role::mlp_norm, i, residual, update, true);
    residual = second.sum;
    update = d.moe ? write_moe(w, i, second.normalized) : write_mlp(w, i, second.normalized);
  }
  const NormOutputs last = write_norm(w, fmt::format("layers.{}/final_norm_layernorm", n_layers),
                                      Role::final_norm, -1, residual, update, false);
  write_head(w, last.normalized);
}

}  // namespace phiquant::format
