// Grouped-query attention with its projections.
#include <cmath>

#include "format/genai_decoder.h"
#include "phiquant/sources.h"

namespace phiquant::format {

using Part = phiquant::Role;

namespace {

struct Projections {
  SourceTensor q, k, v;
};

// The rows (or biases) of q, k and v, wherever the checkpoint keeps them.
Projections projections(GraphWriter& w, int32_t layer, bool bias) {
  if (!w.has(Part::attn_qkv, layer, bias))
    return {w.weight(Part::attn_q, layer, bias), w.weight(Part::attn_k, layer, bias),
            w.weight(Part::attn_v, layer, bias)};
  const Decoder& d = w.decoder;
  const uint64_t q = uint64_t{d.n_heads} * d.head_size, kv = uint64_t{d.n_kv_heads} * d.head_size;
  const SourceTensor all = w.weight(Part::attn_qkv, layer, bias);
  return {slice_rows(all, 0, q), slice_rows(all, q, kv), slice_rows(all, q + kv, kv)};
}

SourceTensor packed(GraphWriter& w, int32_t layer, bool bias) {
  if (w.has(Part::attn_qkv, layer, bias)) return w.weight(Part::attn_qkv, layer, bias);
  Projections p = projections(w, layer, bias);
  if (!p.q.bytes || !p.k.bytes || !p.v.bytes) return {};
  if (p.q.dtype != p.k.dtype || p.q.dtype != p.v.dtype)
    p = {cast_source(p.q, DType::f32), cast_source(p.k, DType::f32), cast_source(p.v, DType::f32)};
  return concat_rows(p.q.name, {p.q, p.k, p.v});
}

bool has_bias(const GraphWriter& w, int32_t layer) {
  return w.has(Part::attn_qkv, layer, true) || w.has(Part::attn_q, layer, true);
}

std::string rotate(GraphWriter& w, int32_t layer, const char* which, const std::string& input,
                   uint32_t heads, const SharedInputs& shared) {
  const Rope& rope = w.decoder.rope;
  const bool partial = rope.dims != w.decoder.head_size;
  const std::string path =
                        layer_path(layer, std::string("attn/") + which + "_rotary/RotaryEmbedding"),
                    out = path + "/output_0";
  onnx::NodeProto& node = w.node("RotaryEmbedding", path,
                                 {input, shared.position_ids, shared.cos_cache, shared.sin_cache},
                                 {out}, "com.microsoft");
  add_int_attribute(node, "interleaved", 0);
  add_int_attribute(node, "num_heads",
                    partial ? heads : 0);  // with whole heads the operator finds them itself
  add_int_attribute(node, "rotary_embedding_dim", partial ? rope.dims : 0);
  return out;
}

// Inputs 0 to 2 of the attention.
std::vector<std::string> write_qkv(GraphWriter& w, int32_t layer, const std::string& input,
                                   const SharedInputs& shared) {
  if (w.target.packed_qkv) {
    const bool biased = has_bias(w, layer);
    const SourceTensor rows = packed(w, layer, false);
    SourceTensor bias;
    if (biased) bias = packed(w, layer, true);
    return {w.linear(layer_path(layer, "attn/qkv_proj"), Part::attn_qkv, layer, input, rows,
                     biased ? &bias : nullptr),
            "", ""};
  }
  std::vector<std::string> qkv = write_projections(w, layer, input);
  if (!w.target.rotary_in_attention) {
    qkv[0] = rotate(w, layer, "q", qkv[0], w.decoder.n_heads, shared);
    qkv[1] = rotate(w, layer, "k", qkv[1], w.decoder.n_kv_heads, shared);
  }
  return qkv;
}

}  // namespace

std::vector<std::string> write_projections(GraphWriter& w, int32_t layer,
                                           const std::string& input) {
  const bool biased = has_bias(w, layer);
  const Projections rows = projections(w, layer, false);
  Projections bias;
  if (biased) bias = projections(w, layer, true);
  const std::string q = w.linear(layer_path(layer, "attn/q_proj"), Part::attn_q, layer, input,
                                 rows.q, biased ? &bias.q : nullptr);
  const std::string k = w.linear(layer_path(layer, "attn/k_proj"), Part::attn_k, layer, input,
                                 rows.k, biased ? &bias.k : nullptr);
  const std::string v = w.linear(layer_path(layer, "attn/v_proj"), Part::attn_v, layer, input,
                                 rows.v, biased ? &bias.v : nullptr);
  return {q, k, v};
}

std::string write_output_projection(GraphWriter& w, int32_t layer, const std::string& input) {
  const bool biased = w.has(Part::attn_out, layer, true);
  SourceTensor bias;
  if (biased) bias = w.weight(Part::attn_out, layer, true);
  return w.linear(layer_path(layer, "attn/o_proj"), Part::attn_out, layer, input,
                  w.weight(Part::attn_out, layer), biased ? &bias : nullptr);
}

float attention_scale(const Decoder& d) {
  return d.attention_scale.value_or(
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(d.head_size))));
}

std::string write_attention(GraphWriter& w, int32_t layer, const std::string& input,
                            const SharedInputs& shared) {
  const Decoder& d = w.decoder;
  const bool rotates = w.target.rotary_in_attention,
             sparse = d.block_sparse && d.block_sparse->has(layer);
  const char* op = sparse ? "SparseAttention" : "GroupQueryAttention";
  std::vector<std::string> inputs = write_qkv(w, layer, input, shared);
  const std::string n = std::to_string(layer), path = layer_path(layer, std::string("attn/") + op),
                    out = path + "/output_0";
  const auto take = [&](std::initializer_list<std::string> more) {
    inputs.insert(inputs.end(), more);
  };
  take({"past_key_values." + n + ".key", "past_key_values." + n + ".value"});
  if (sparse)
    take({shared.block_rows, shared.block_columns, shared.total_length, shared.key_lengths});
  else
    take({shared.seqlens_k, shared.total_length});
  take({rotates ? shared.cos_cache : "", rotates ? shared.sin_cache : ""});
  if (!sparse) take({"", "", ""});
  onnx::NodeProto& node = w.node(
      op, path, inputs, {out, "present." + n + ".key", "present." + n + ".value"}, "com.microsoft");
  add_int_attribute(node, "num_heads", d.n_heads);
  add_int_attribute(node, "kv_num_heads", d.n_kv_heads);
  set_float(node, "scale", attention_scale(d));
  if (sparse) {
    add_int_attribute(node, "sparse_block_size", d.block_sparse->block_size);
  } else {
    add_int_attribute(node, "local_window_size", -1);
    set_float(node, "softcap", 0);
  }
  add_int_attribute(node, "do_rotary", rotates ? 1 : 0);
  add_int_attribute(node, "rotary_interleaved", 0);
  return write_output_projection(w, layer, out);
}

}  // namespace phiquant::format
