// The decoder with com.microsoft operators: grouped-query or block-sparse attention with a cache,
// norms that add the residual themselves, rotation inside attention or in front of it. Operators:
// onnxruntime's ContribOperators.md.
#include <fmt/format.h>

#include "format/decoder/genai_inputs.h"
#include "format/decoder/onnx_parts.h"
#include "format/decoder/walk.h"

namespace phiquant::format {
namespace {

class GenaiDialect {
 public:
  using Value = std::string;
  explicit GenaiDialect(GraphWriter& writer) : w_(writer) {}

  void begin() {
    write_interface(w_);
    shared_ = write_preprocessing(w_);
  }
  void embed() { residual_ = write_embedding(w_); }
  Value norm(Role role, int32_t layer);
  bool packs_qkv() const { return w_.target.packed_qkv; }
  Value linear(const WeightKey& key, const Value& x) { return w_.linear(key, x); }
  Value rope(int32_t layer, Role role, const Value& x);
  Value attention(int32_t layer, const std::vector<Value>& qkv);
  Value activate(int32_t layer, const Value& x) { return write_activation(w_, layer, x); }
  Value multiply(int32_t layer, const Value& a, const Value& b) {
    return w_.add("Mul", layer_path(layer, "mlp/Mul"), {a, b});
  }
  Value mix_experts(int32_t layer, const Value& x) { return write_moe(w_, layer, x); }
  // The next norm adds it; of two that join side by side the sum.
  void add(int32_t layer, const char*, const Value& x) {
    update_ =
        update_.empty() ? x : w_.add("Add", layer_path(layer, "residual_add/Add"), {update_, x});
  }
  void head(const Value& x) { write_head(w_, x); }

 private:
  GraphWriter& w_;
  SharedInputs shared_;
  Value residual_, update_;  // the stream, and what has yet to be added to it
};

std::string GenaiDialect::norm(Role role, int32_t layer) {
  const bool simple = w_.decoder.norm == NormKind::rms;
  const std::string name = norm_path(w_.decoder, role, layer), path = "/model/" + name,
                    prefix = "model." + dotted(name), out = path + "/output_0";
  std::vector<std::string> inputs = {residual_};
  if (!update_.empty()) inputs.push_back(update_);
  inputs.push_back(w_.vector({role, layer}, prefix + ".weight"));
  if (!simple && w_.has(role, layer, true))
    inputs.push_back(w_.vector({role, layer, -1, true}, prefix + ".bias"));
  if (update_.empty()) {
    onnx::NodeProto& n = w_.node(simple ? "SimplifiedLayerNormalization" : "LayerNormalization",
                                 path + "/LayerNorm", inputs, {out});
    set_float(n, "epsilon", w_.decoder.norm_eps);
    add_int_attribute(n, "axis", -1);
    add_int_attribute(n, "stash_type", 1);
    return out;
  }
  std::vector<std::string> outputs = {out};
  if (role != Role::final_norm) {
    residual_ = path + "/output_3";
    outputs.insert(outputs.end(), {"", "", residual_});
  }
  set_float(w_.node(simple ? "SkipSimplifiedLayerNormalization" : "SkipLayerNormalization",
                    path + "/SkipLayerNorm", inputs, outputs, "com.microsoft"),
            "epsilon", w_.decoder.norm_eps);
  update_.clear();
  return out;
}

std::string GenaiDialect::rope(int32_t layer, Role role, const std::string& x) {
  if (w_.target.rotary_in_attention) return x;
  const Decoder& d = w_.decoder;
  const bool is_q = role == Role::attn_q, partial = d.rope.dims != d.head_size;
  const std::string path = layer_path(layer, std::string("attn/") + (is_q ? "q" : "k") +
                                                 "_rotary/RotaryEmbedding"),
                    out = path + "/output_0";
  onnx::NodeProto& node = w_.node("RotaryEmbedding", path,
                                  {x, shared_.position_ids, shared_.cos_cache, shared_.sin_cache},
                                  {out}, "com.microsoft");
  add_int_attribute(node, "interleaved", 0);
  // With whole heads the operator finds them itself.
  add_int_attribute(node, "num_heads", !partial ? 0 : is_q ? d.n_heads : d.n_kv_heads);
  add_int_attribute(node, "rotary_embedding_dim", partial ? d.rope.dims : 0);
  return out;
}

std::string GenaiDialect::attention(int32_t layer, const std::vector<std::string>& qkv) {
  const Decoder& d = w_.decoder;
  const bool rotates = w_.target.rotary_in_attention,
             sparse = d.block_sparse && d.block_sparse->has(layer);
  const char* op = sparse ? "SparseAttention" : "GroupQueryAttention";
  std::vector<std::string> inputs = qkv;
  inputs.resize(3);  // packed: "" for k and v
  const std::string n = std::to_string(layer), path = layer_path(layer, std::string("attn/") + op),
                    out = path + "/output_0";
  const auto take = [&](std::initializer_list<std::string> more) {
    inputs.insert(inputs.end(), more);
  };
  take({"past_key_values." + n + ".key", "past_key_values." + n + ".value"});
  if (sparse)
    take({shared_.block_rows, shared_.block_columns, shared_.total_length, shared_.key_lengths});
  else
    take({shared_.seqlens_k, shared_.total_length});
  take({rotates ? shared_.cos_cache : "", rotates ? shared_.sin_cache : ""});
  if (!sparse) take({"", "", ""});
  onnx::NodeProto& node = w_.node(
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
  return out;
}

}  // namespace

void write_genai_decoder(GraphWriter& w) {
  GenaiDialect dialect(w);
  walk_decoder(w.decoder, dialect);
}

}  // namespace phiquant::format
