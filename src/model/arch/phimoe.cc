// Phi-3.5-MoE: LayerNorm, separate q, k and v, experts chosen by the sparse mixer.
// Source: transformers, models/phimoe/modeling_phimoe.py; w1 is the gate, w3 up, w2 down.
#include "model/arch/arch.h"

namespace phiquant {

namespace arch {
std::span<const Architecture> phimoe();
}

namespace {

constexpr TensorRule kTensors[] = {
    {"model.embed_tokens.weight", Role::embed, mat(Dim::vocab, Dim::hidden)},
    {"model.layers.{layer}.input_layernorm.weight", Role::attn_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.input_layernorm.bias", Role::attn_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.self_attn.q_proj.weight", Role::attn_q, mat(Dim::q, Dim::hidden)},
    {"model.layers.{layer}.self_attn.q_proj.bias", Role::attn_q, vec(Dim::q), When::attention_bias},
    {"model.layers.{layer}.self_attn.k_proj.weight", Role::attn_k, mat(Dim::kv, Dim::hidden)},
    {"model.layers.{layer}.self_attn.k_proj.bias", Role::attn_k, vec(Dim::kv),
     When::attention_bias},
    {"model.layers.{layer}.self_attn.v_proj.weight", Role::attn_v, mat(Dim::kv, Dim::hidden)},
    {"model.layers.{layer}.self_attn.v_proj.bias", Role::attn_v, vec(Dim::kv),
     When::attention_bias},
    {"model.layers.{layer}.self_attn.o_proj.weight", Role::attn_out, mat(Dim::hidden, Dim::q)},
    {"model.layers.{layer}.self_attn.o_proj.bias", Role::attn_out, vec(Dim::hidden),
     When::attention_bias},
    {"model.layers.{layer}.post_attention_layernorm.weight", Role::mlp_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.post_attention_layernorm.bias", Role::mlp_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.block_sparse_moe.gate.weight", Role::router,
     mat(Dim::experts, Dim::hidden)},
    {"model.layers.{layer}.block_sparse_moe.experts.{expert}.w1.weight", Role::expert_gate,
     mat(Dim::ffn, Dim::hidden)},
    {"model.layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight", Role::expert_up,
     mat(Dim::ffn, Dim::hidden)},
    {"model.layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight", Role::expert_down,
     mat(Dim::hidden, Dim::ffn)},
    {"model.norm.weight", Role::final_norm, vec(Dim::hidden)},
    {"model.norm.bias", Role::final_norm, vec(Dim::hidden)},
    {"lm_head.weight", Role::lm_head, mat(Dim::vocab, Dim::hidden), When::untied},
    {"lm_head.bias", Role::lm_head, vec(Dim::vocab), When::lm_head_bias},
    {"model.layers.{layer}.self_attn.rotary_emb.inv_freq"},
};

// transformers 5 renames the block and holds all experts of a layer in one tensor; its files
// usually keep the names above, but need not.
constexpr TensorRule kAlternatives[] = {
    {"model.layers.{layer}.mlp.router.weight", Role::router, mat(Dim::experts, Dim::hidden)},
    {"model.layers.{layer}.mlp.experts.gate_up_proj", Role::expert_gate,
     stack(Dim::experts, Dim::gate_up, Dim::hidden), When::always, Part::packed_gate_up},
    {"model.layers.{layer}.mlp.experts.down_proj", Role::expert_down,
     stack(Dim::experts, Dim::hidden, Dim::ffn), When::always, Part::packed},
    // mlx_lm stacks them so.
    {"model.layers.{layer}.block_sparse_moe.switch_mlp.gate_proj.weight", Role::expert_gate,
     stack(Dim::experts, Dim::ffn, Dim::hidden), When::always, Part::packed},
    {"model.layers.{layer}.block_sparse_moe.switch_mlp.up_proj.weight", Role::expert_up,
     stack(Dim::experts, Dim::ffn, Dim::hidden), When::always, Part::packed},
    {"model.layers.{layer}.block_sparse_moe.switch_mlp.down_proj.weight", Role::expert_down,
     stack(Dim::experts, Dim::hidden, Dim::ffn), When::always, Part::packed},
};

Result<Decoder> decoder_of(const ConfigView& config) {
  auto decoder = common_decoder(config);
  if (!decoder) return decoder;
  Decoder& d = *decoder;
  PHIQUANT_ASSIGN(const double eps, config.positive("rms_norm_eps"));
  d.norm_eps = static_cast<float>(eps);
  d.norm = NormKind::layer;
  d.norm_bias = true;
  d.fused_qkv = d.fused_gate_up = false;
  PHIQUANT_ASSIGN(d.attention_bias, config.flag("attention_bias", false));
  PHIQUANT_ASSIGN(d.lm_head_bias, config.flag("lm_head_bias", false));
  MoE moe;
  PHIQUANT_ASSIGN(moe.n_experts, config.count32("num_local_experts", 1024));
  PHIQUANT_ASSIGN(moe.n_used, config.count32("num_experts_per_tok", 1024));
  if (moe.n_used != 2 || moe.n_experts < 2)
    return config.error(Errc::unsupported,
                        "num_experts_per_tok and num_local_experts: the sparse mixer picks 2 of at "
                        "least 2 experts");
  PHIQUANT_ASSIGN(const auto jitter, config.optional_positive("router_jitter_noise"));
  moe.jitter_eps = static_cast<float>(jitter.value_or(0.01));  // the class's default
  d.moe = moe;
  return decoder;
}

const Architecture kRows[] = {
    {"PhiMoEForCausalLM", "phimoe", decoder_of, kTensors, kAlternatives},
    {"PhimoeForCausalLM", "phimoe", decoder_of, kTensors, kAlternatives},
};

}  // namespace

std::span<const Architecture> arch::phimoe() { return kRows; }

}  // namespace phiquant
