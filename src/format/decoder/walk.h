// The one walk over a decoder's block. What is computed, and in which order, is said here; how a
// runtime says it is a dialect's: com.microsoft operators with a cache (genai_dialect.cc),
// operators of the ONNX standard (plain_dialect.cc). A visitor and no graph of our own: dialects
// write their format as they are called.
//
// Verbs of a dialect D, whose results are D::Value:
//   begin()                  inputs, states, the mask, rotary tables: what all layers share
//   embed()                  rows of the table, scaled: they become the residual stream
//   norm(role, layer)        the stream, normalized
//   packs_qkv()              whether attention takes q, k and v as one matrix
//   linear(key, x)           x W^T, with its bias
//   rope(layer, role, x)     heads of q or k (attn_q, attn_k) rotated; x where attention does that
//   itself attention(layer, qkv)    causal attention, grouped, with what the block says of windows
//   and blocks; q, k, v or one activate(layer, x)       the block's activation multiply(layer, a,
//   b)    elementwise, of a gated MLP mix_experts(layer, x)    router, experts and their weighted
//   sum add(layer, part, x)      x joins the residual stream; `part` is "attn" or "mlp" head(x)
//   logits, scaled, unused tokens hidden
#pragma once

#include <vector>

#include "model/checkpoint.h"

namespace phiquant::format {

template <class D>
typename D::Value walk_attention(const Decoder&, D& d, int32_t layer, const typename D::Value& x) {
  std::vector<typename D::Value> qkv;
  if (d.packs_qkv()) {
    qkv = {d.linear({Role::attn_qkv, layer}, x)};
  } else {
    for (const Role role : {Role::attn_q, Role::attn_k, Role::attn_v})
      qkv.push_back(d.linear({role, layer}, x));
    qkv[0] = d.rope(layer, Role::attn_q, qkv[0]);
    qkv[1] = d.rope(layer, Role::attn_k, qkv[1]);
  }
  return d.linear({Role::attn_out, layer}, d.attention(layer, qkv));
}

template <class D>
typename D::Value walk_mlp(const Decoder& decoder, D& d, int32_t layer,
                           const typename D::Value& x) {
  if (decoder.moe) return d.mix_experts(layer, x);
  if (!decoder.gated_mlp)
    return d.linear({Role::mlp_down, layer}, d.activate(layer, d.linear({Role::mlp_up, layer}, x)));
  const auto gate = d.linear({Role::mlp_gate, layer}, x), up = d.linear({Role::mlp_up, layer}, x);
  return d.linear({Role::mlp_down, layer}, d.multiply(layer, d.activate(layer, gate), up));
}

template <class D>
void walk_decoder(const Decoder& decoder, D& d) {
  d.begin();
  d.embed();
  for (int32_t layer = 0; layer < static_cast<int32_t>(decoder.n_layers); ++layer) {
    const auto first = d.norm(Role::attn_norm, layer);
    d.add(layer, "attn", walk_attention(decoder, d, layer, first));
    // Side by side (Phi-2), attention and MLP read one norm.
    const auto second = decoder.parallel_residual ? first : d.norm(Role::mlp_norm, layer);
    d.add(layer, "mlp", walk_mlp(decoder, d, layer, second));
  }
  d.head(d.norm(Role::final_norm, -1));
}

}  // namespace phiquant::format
