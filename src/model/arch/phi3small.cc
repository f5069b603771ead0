// Phi-3-small: LayerNorm with biases, grouped qkv, gegelu, block-sparse attention in every other
// layer, the multipliers of muP, and tied embeddings. Source: modeling_phi3_small.py and
// configuration_phi3_small.py of microsoft/Phi-3-small-8k-instruct (whose class has the defaults
// below); mlx_lm, models/phi3small.py.
#include <algorithm>
#include <iterator>
#include <vector>

#include <fmt/core.h>

#include "model/arch/arch.h"
#include "model/tokenizer/phi3small_tokens.h"

namespace phiquant {

namespace arch {
std::span<const Architecture> phi3small();
}

namespace {

constexpr TensorRule kTensors[] = {
    {"model.embed_tokens.weight", Role::embed, mat(Dim::vocab, Dim::hidden)},
    {"model.layers.{layer}.input_layernorm.weight", Role::attn_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.input_layernorm.bias", Role::attn_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.self_attn.query_key_value.weight", Role::attn_q,
     mat(Dim::qkv, Dim::hidden), When::always, Part::grouped_qkv},
    {"model.layers.{layer}.self_attn.query_key_value.bias", Role::attn_q, vec(Dim::qkv),
     When::always, Part::grouped_qkv},
    {"model.layers.{layer}.self_attn.dense.weight", Role::attn_out, mat(Dim::hidden, Dim::q)},
    {"model.layers.{layer}.self_attn.dense.bias", Role::attn_out, vec(Dim::hidden)},
    {"model.layers.{layer}.post_attention_layernorm.weight", Role::mlp_norm, vec(Dim::hidden)},
    {"model.layers.{layer}.post_attention_layernorm.bias", Role::mlp_norm, vec(Dim::hidden)},
    // Rows of gegelu's two arguments by turns.
    {"model.layers.{layer}.mlp.up_proj.weight", Role::mlp_up, mat(Dim::gate_up, Dim::hidden)},
    {"model.layers.{layer}.mlp.up_proj.bias", Role::mlp_up, vec(Dim::gate_up)},
    {"model.layers.{layer}.mlp.down_proj.weight", Role::mlp_down, mat(Dim::hidden, Dim::ffn)},
    {"model.layers.{layer}.mlp.down_proj.bias", Role::mlp_down, vec(Dim::hidden)},
    {"model.final_layernorm.weight", Role::final_norm, vec(Dim::hidden)},
    {"model.final_layernorm.bias", Role::final_norm, vec(Dim::hidden)},
    {"lm_head.weight", Role::lm_head, mat(Dim::vocab, Dim::hidden), When::untied},
    {"model.layers.{layer}.self_attn.rotary_emb.inv_freq"},
};

constexpr uint64_t kMaxBlocks = uint64_t{1} << 20;

Result<uint32_t> block_count(const ConfigView& config, std::string_view key, uint32_t fallback) {
  PHIQUANT_ASSIGN(const auto stated, config.optional_count(key, kMaxBlocks));
  return stated ? static_cast<uint32_t>(*stated) : fallback;
}

// A number that a float32 can hold, and its reciprocal too.
Result<double> scale(const ConfigView& config, std::string_view key, double fallback) {
  PHIQUANT_ASSIGN(const auto stated, config.optional_positive(key));
  constexpr double kMost = 1e30;
  if (stated && (*stated > kMost || *stated < 1 / kMost))
    return config.wrong(key, "a number from 1e-30 to 1e30");
  return stated.value_or(fallback);
}

Result<BlockSparse> block_sparse(const ConfigView& config) {
  BlockSparse b;
  PHIQUANT_ASSIGN(b.block_size, block_count(config, "blocksparse_block_size", 64));
  PHIQUANT_ASSIGN(b.local_blocks, block_count(config, "blocksparse_num_local_blocks", 16));
  PHIQUANT_ASSIGN(b.vertical_stride, block_count(config, "blocksparse_vert_stride", 8));
  PHIQUANT_ASSIGN(b.alike_heads, config.flag("blocksparse_homo_head_pattern", false));
  PHIQUANT_ASSIGN(b.dense_every, block_count(config, "dense_attention_every_n_layers", 2));
  return b;
}

// Factors of muP, a parametrization whose learning rates do not depend on the width.
Result<void> read_scales(const ConfigView& config, Decoder& d) {
  PHIQUANT_ASSIGN(const double embedding, scale(config, "mup_embedding_multiplier", 10));
  PHIQUANT_ASSIGN(const double width, scale(config, "mup_width_multiplier", 8));
  PHIQUANT_ASSIGN(const double attention, scale(config, "mup_attn_multiplier", 1));
  PHIQUANT_ASSIGN(const bool scales_attention, config.flag("mup_use_scaling", true));
  d.embedding_scale = static_cast<float>(embedding);
  d.logit_scale = static_cast<float>(1 / width);
  if (scales_attention) d.attention_scale = static_cast<float>(attention / d.head_size);
  return {};
}

// Of a smaller vocabulary, those that it has.
Result<void> read_unused_tokens(const ConfigView& config, Decoder& d) {
  std::vector<uint32_t> ids(phi3small_unused_ids().begin(), phi3small_unused_ids().end());
  if (const nlohmann::json* list = config.find("dummy_token_indices")) {
    const auto is_id = [&](const nlohmann::json& id) {
      return id.is_number_unsigned() && id.get<uint64_t>() < d.vocab;
    };
    if (!list->is_array() || !std::all_of(list->begin(), list->end(), is_id))
      return config.error(Errc::corrupt,
                          fmt::format("'dummy_token_indices' is no list of whole numbers below "
                                      "vocab_size {}",
                                      d.vocab));
    ids = list->get<std::vector<uint32_t>>();
  }
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(d.unused_tokens),
               [&](uint32_t id) { return id < d.vocab; });
  return {};
}

Result<Decoder> decoder_of(const ConfigView& config) {
  auto decoder = common_decoder(config, {"ff_intermediate_size", "rope_embedding_base", 1e6, true});
  if (!decoder) return decoder;
  Decoder& d = *decoder;
  PHIQUANT_ASSIGN(const auto position_scale, config.optional_positive("rope_position_scale"));
  if (position_scale.value_or(1) != 1)
    return config.error(Errc::unsupported,
                        fmt::format("rope_position_scale is {} (every published Phi-3-small has 1)",
                                    *position_scale));
  PHIQUANT_ASSIGN(const double eps, scale(config, "layer_norm_epsilon", 1e-5));
  d.norm_eps = static_cast<float>(eps);
  d.norm = NormKind::layer;
  d.norm_bias = d.attention_bias = d.mlp_bias = true;
  d.gated_mlp = d.fused_qkv = d.fused_gate_up = false;
  PHIQUANT_ASSIGN(const double limit, scale(config, "gegelu_limit", 20));
  d.activation_limit = static_cast<float>(limit);
  PHIQUANT_ASSIGN(d.block_sparse, block_sparse(config));
  PHIQUANT_TRY(read_scales(config, d));
  PHIQUANT_TRY(read_unused_tokens(config, d));
  return decoder;
}

const Architecture kRows[] = {
    {"Phi3SmallForCausalLM", "phi3small", decoder_of, kTensors, {}},
};

}  // namespace

std::span<const Architecture> arch::phi3small() { return kRows; }

}  // namespace phiquant
