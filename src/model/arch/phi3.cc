// Phi-3 mini and medium, Phi-3.5-mini, Phi-4, Phi-4-mini: RMSNorm, fused qkv and gate_up; and the
// text parts of Phi-3-vision, Phi-3.5-vision and Phi-4-multimodal, which are the same blocks.
// Source: transformers, models/phi3/modeling_phi3.py; modeling_phi3_v.py and modeling_phi4mm.py of
// those checkpoints. Their names of tensors: transformers,
// models/phi4_multimodal/convert_phi4_multimodal_weights_to_hf.py (which also says how the class of
// transformers itself names them: without base_layer and adapters), and vLLM's phi3v.py.
#include "model/arch/arch.h"

namespace phiquant {

namespace arch {
std::span<const Architecture> phi3();
std::span<const Architecture> phi3_multimodal();
}  // namespace arch

namespace {

constexpr TensorRule kText[] = {
    {"model.embed_tokens.weight", Role::embed, mat(Dim::vocab, Dim::hidden)},
    {"model.layers.{layer}.input_layernorm.weight", Role::attn_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.self_attn.qkv_proj.weight", Role::attn_qkv, mat(Dim::qkv, Dim::hidden)},
    {"model.layers.{layer}.self_attn.qkv_proj.bias", Role::attn_qkv, vec(Dim::qkv),
     When::attention_bias},
    {"model.layers.{layer}.self_attn.o_proj.weight", Role::attn_out, mat(Dim::hidden, Dim::q)},
    {"model.layers.{layer}.self_attn.o_proj.bias", Role::attn_out, vec(Dim::hidden),
     When::attention_bias},
    {"model.layers.{layer}.post_attention_layernorm.weight", Role::mlp_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.mlp.gate_up_proj.weight", Role::mlp_gate_up,
     mat(Dim::gate_up, Dim::hidden)},
    {"model.layers.{layer}.mlp.gate_up_proj.bias", Role::mlp_gate_up, vec(Dim::gate_up),
     When::mlp_bias},
    {"model.layers.{layer}.mlp.down_proj.weight", Role::mlp_down, mat(Dim::hidden, Dim::ffn)},
    {"model.layers.{layer}.mlp.down_proj.bias", Role::mlp_down, vec(Dim::hidden), When::mlp_bias},
    {"model.norm.weight", Role::final_norm, vec(Dim::hidden)},
    {"lm_head.weight", Role::lm_head, mat(Dim::vocab, Dim::hidden), When::untied},
    {"lm_head.bias", Role::lm_head, vec(Dim::vocab), When::lm_head_bias},
    {"model.layers.{layer}.self_attn.rotary_emb.inv_freq"},
};

constexpr TensorRule kVision[] = {
    // Its wte.weight, where saved, is the embedding table once more.
    {"model.vision_embed_tokens.*"},
};

// Every linear is a base_layer with LoRA adapters "vision" and "speech": A [rank, in], B [out,
// rank].
constexpr TensorRule kMultimodal[] = {
    {"model.embed_tokens_extend.*"},
    {"model.layers.{layer}.self_attn.qkv_proj.base_layer.weight", Role::attn_qkv,
     mat(Dim::qkv, Dim::hidden)},
    {"model.layers.{layer}.self_attn.qkv_proj.lora_A.{adapter}.weight", Role::attn_qkv,
     mat(Dim::rank, Dim::hidden), When::always, Part::lora_a},
    {"model.layers.{layer}.self_attn.qkv_proj.lora_B.{adapter}.weight", Role::attn_qkv,
     mat(Dim::qkv, Dim::rank), When::always, Part::lora_b},
    {"model.layers.{layer}.self_attn.o_proj.base_layer.weight", Role::attn_out,
     mat(Dim::hidden, Dim::q)},
    {"model.layers.{layer}.self_attn.o_proj.lora_A.{adapter}.weight", Role::attn_out,
     mat(Dim::rank, Dim::q), When::always, Part::lora_a},
    {"model.layers.{layer}.self_attn.o_proj.lora_B.{adapter}.weight", Role::attn_out,
     mat(Dim::hidden, Dim::rank), When::always, Part::lora_b},
    {"model.layers.{layer}.mlp.gate_up_proj.base_layer.weight", Role::mlp_gate_up,
     mat(Dim::gate_up, Dim::hidden)},
    {"model.layers.{layer}.mlp.gate_up_proj.lora_A.{adapter}.weight", Role::mlp_gate_up,
     mat(Dim::rank, Dim::hidden), When::always, Part::lora_a},
    {"model.layers.{layer}.mlp.gate_up_proj.lora_B.{adapter}.weight", Role::mlp_gate_up,
     mat(Dim::gate_up, Dim::rank), When::always, Part::lora_b},
    {"model.layers.{layer}.mlp.down_proj.base_layer.weight", Role::mlp_down,
     mat(Dim::hidden, Dim::ffn)},
    {"model.layers.{layer}.mlp.down_proj.lora_A.{adapter}.weight", Role::mlp_down,
     mat(Dim::rank, Dim::ffn), When::always, Part::lora_a},
    {"model.layers.{layer}.mlp.down_proj.lora_B.{adapter}.weight", Role::mlp_down,
     mat(Dim::hidden, Dim::rank), When::always, Part::lora_b},
};

Result<Decoder> decoder_of(const ConfigView& config) {
  auto decoder = common_decoder(config);
  if (!decoder) return decoder;
  Decoder& d = *decoder;
  PHIQUANT_ASSIGN(const double eps, config.positive("rms_norm_eps"));
  d.norm_eps = static_cast<float>(eps);
  PHIQUANT_ASSIGN(d.attention_bias, config.flag("attention_bias", false));
  PHIQUANT_ASSIGN(d.mlp_bias, config.flag("mlp_bias", false));
  PHIQUANT_ASSIGN(d.lm_head_bias, config.flag("lm_head_bias", false));
  return decoder;
}

const Architecture kText3[] = {
    {"Phi3ForCausalLM", "phi3", decoder_of, kText, {}},
};

const Architecture kMultimodal3[] = {
    {"Phi3VForCausalLM", "phi3_v", decoder_of, kText, kVision, true},
    {"Phi4MMForCausalLM", "phi4mm", decoder_of, kText, kMultimodal, true},
    {"Phi4MultimodalForCausalLM", "phi4_multimodal", decoder_of, kText, kMultimodal, true},
};

}  // namespace

std::span<const Architecture> arch::phi3() { return kText3; }
std::span<const Architecture> arch::phi3_multimodal() { return kMultimodal3; }

}  // namespace phiquant
