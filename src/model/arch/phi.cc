// Phi-1, Phi-1.5, Phi-2: LayerNorm, biases everywhere, attention and MLP side by side on one norm.
// Source: transformers, models/phi/modeling_phi.py.
#include "model/arch/arch.h"

namespace phiquant {

namespace arch {
std::span<const Architecture> phi();
}

namespace {

constexpr TensorRule kTensors[] = {
    {"model.embed_tokens.weight", Role::embed, mat(Dim::vocab, Dim::hidden)},
    {"model.layers.{layer}.input_layernorm.weight", Role::attn_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.input_layernorm.bias", Role::attn_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.self_attn.q_proj.weight", Role::attn_q, mat(Dim::q, Dim::hidden)},
    {"model.layers.{layer}.self_attn.q_proj.bias", Role::attn_q, vec(Dim::q)},
    {"model.layers.{layer}.self_attn.k_proj.weight", Role::attn_k, mat(Dim::kv, Dim::hidden)},
    {"model.layers.{layer}.self_attn.k_proj.bias", Role::attn_k, vec(Dim::kv)},
    {"model.layers.{layer}.self_attn.v_proj.weight", Role::attn_v, mat(Dim::kv, Dim::hidden)},
    {"model.layers.{layer}.self_attn.v_proj.bias", Role::attn_v, vec(Dim::kv)},
    {"model.layers.{layer}.self_attn.dense.weight", Role::attn_out, mat(Dim::hidden, Dim::q)},
    {"model.layers.{layer}.self_attn.dense.bias", Role::attn_out, vec(Dim::hidden)},
    {"model.layers.{layer}.mlp.fc1.weight", Role::mlp_up, mat(Dim::ffn, Dim::hidden)},
    {"model.layers.{layer}.mlp.fc1.bias", Role::mlp_up, vec(Dim::ffn)},
    {"model.layers.{layer}.mlp.fc2.weight", Role::mlp_down, mat(Dim::hidden, Dim::ffn)},
    {"model.layers.{layer}.mlp.fc2.bias", Role::mlp_down, vec(Dim::hidden)},
    {"model.final_layernorm.weight", Role::final_norm, vec(Dim::hidden)},
    {"model.final_layernorm.bias", Role::final_norm, vec(Dim::hidden)},
    {"lm_head.weight", Role::lm_head, mat(Dim::vocab, Dim::hidden), When::untied},
    {"lm_head.bias", Role::lm_head, vec(Dim::vocab)},
    {"model.layers.{layer}.self_attn.rotary_emb.inv_freq"},
};

Result<Decoder> decoder_of(const ConfigView& config) {
  auto decoder = common_decoder(config);
  if (!decoder) return decoder;
  Decoder& d = *decoder;
  // Every published Phi rotates a part of its heads; without the number there is no telling which.
  PHIQUANT_ASSIGN(const auto rope, config.section("rope_parameters"));
  if (!config.has("partial_rotary_factor") && !(rope && rope->has("partial_rotary_factor")))
    return config.missing("partial_rotary_factor");
  PHIQUANT_ASSIGN(const bool qk_norm, config.flag("qk_layernorm", false));
  if (qk_norm)
    return config.error(Errc::unsupported, "qk_layernorm is true (no published Phi has it)");
  PHIQUANT_ASSIGN(const double eps, config.positive("layer_norm_eps"));
  d.norm_eps = static_cast<float>(eps);
  d.norm = NormKind::layer;
  d.gated_mlp = d.fused_qkv = d.fused_gate_up = false;
  d.parallel_residual = true;
  d.attention_bias = d.mlp_bias = d.norm_bias = d.lm_head_bias = true;
  return decoder;
}

const Architecture kRows[] = {
    {"PhiForCausalLM", "phi", decoder_of, kTensors, {}},
};

}  // namespace

std::span<const Architecture> arch::phi() { return kRows; }

}  // namespace phiquant
