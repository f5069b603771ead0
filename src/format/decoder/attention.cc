// Grouped-query attention with its projections.
#include <cmath>

#include "format/decoder/genai_decoder.h"

namespace phiquant::format {

namespace {

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
  if (w.target.packed_qkv) return {w.linear({Role::attn_qkv, layer}, input), "", ""};
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
  std::vector<std::string> qkv;
  for (const Role role : {Role::attn_q, Role::attn_k, Role::attn_v})
    qkv.push_back(w.linear({role, layer}, input));
  return qkv;
}

std::string write_output_projection(GraphWriter& w, int32_t layer, const std::string& input) {
  return w.linear({Role::attn_out, layer}, input);
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
