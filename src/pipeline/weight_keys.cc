// Names of a decoder's weights, in graphs and in checkpoints.
#include <array>

#include "model/arch/arch.h"
#include "pipeline/weights.h"

namespace phiquant {
namespace {

struct NameRule {
  std::string_view pattern;
  Role role;
};

// As onnxruntime-genai 0.18's model builder names initializers, and the graph writer of this
// program after it; what that builder cannot make (experts of Phi) has names of our own.
constexpr NameRule kGraphNames[] = {
    {"lm_head.MatMul.weight", Role::lm_head},
    {"lm_head.Add.bias", Role::lm_head},
    {"model.layers.{layer}.attn.qkv_proj.MatMul.weight", Role::attn_qkv},
    {"model.layers.{layer}.attn.qkv_proj.Add.bias", Role::attn_qkv},
    {"model.layers.{layer}.attn.q_proj.MatMul.weight", Role::attn_q},
    {"model.layers.{layer}.attn.q_proj.Add.bias", Role::attn_q},
    {"model.layers.{layer}.attn.k_proj.MatMul.weight", Role::attn_k},
    {"model.layers.{layer}.attn.k_proj.Add.bias", Role::attn_k},
    {"model.layers.{layer}.attn.v_proj.MatMul.weight", Role::attn_v},
    {"model.layers.{layer}.attn.v_proj.Add.bias", Role::attn_v},
    {"model.layers.{layer}.attn.o_proj.MatMul.weight", Role::attn_out},
    {"model.layers.{layer}.attn.o_proj.Add.bias", Role::attn_out},
    {"model.layers.{layer}.mlp.gate_up_proj.MatMul.weight", Role::mlp_gate_up},
    {"model.layers.{layer}.mlp.gate_up_proj.Add.bias", Role::mlp_gate_up},
    {"model.layers.{layer}.mlp.gate_proj.MatMul.weight", Role::mlp_gate},
    {"model.layers.{layer}.mlp.gate_proj.Add.bias", Role::mlp_gate},
    {"model.layers.{layer}.mlp.up_proj.MatMul.weight", Role::mlp_up},
    {"model.layers.{layer}.mlp.up_proj.Add.bias", Role::mlp_up},
    {"model.layers.{layer}.mlp.down_proj.MatMul.weight", Role::mlp_down},
    {"model.layers.{layer}.mlp.down_proj.Add.bias", Role::mlp_down},
    {"model.layers.{layer}.mlp.fc1.MatMul.weight", Role::mlp_up},
    {"model.layers.{layer}.mlp.fc1.Add.bias", Role::mlp_up},
    {"model.layers.{layer}.mlp.fc2.MatMul.weight", Role::mlp_down},
    {"model.layers.{layer}.mlp.fc2.Add.bias", Role::mlp_down},
    {"model.layers.{layer}.moe.router.MatMul.weight", Role::router},
    {"model.layers.{layer}.moe.experts.{expert}.gate_proj.MatMul.weight", Role::expert_gate},
    {"model.layers.{layer}.moe.experts.{expert}.up_proj.MatMul.weight", Role::expert_up},
    {"model.layers.{layer}.moe.experts.{expert}.down_proj.MatMul.weight", Role::expert_down},
    {"model.layers.{layer}.moe.experts.gate_up_proj.weight[{expert}].gate", Role::expert_gate},
    {"model.layers.{layer}.moe.experts.gate_up_proj.weight[{expert}].up", Role::expert_up},
    {"model.layers.{layer}.moe.experts.down_proj.weight[{expert}]", Role::expert_down},
    {"model.layers.{layer}.final_norm_layernorm.weight", Role::final_norm},
    {"model.layers.{layer}.final_norm_layernorm.bias", Role::final_norm},
    {"block_row_indices", Role::ignored},
    {"block_col_indices", Role::ignored},
    {"logits_mask", Role::ignored},
    {"cos_cache", Role::ignored},
    {"sin_cache", Role::ignored},
};

// Not a number of a layer: the norm behind the last one is called after it.
bool is_outside_layers(Role role) { return role == Role::final_norm; }

}  // namespace

std::optional<WeightKey> weight_key_of_name(std::string_view name) {
  const bool is_bias = name.ends_with(".bias");
  for (const NameRule& rule : kGraphNames)
    if (const auto match = match_name(rule.pattern, name))
      return WeightKey{rule.role, is_outside_layers(rule.role) ? -1 : match->layer, match->expert,
                       is_bias};
  for (const Architecture& row : architectures())
    for (const TensorRule& rule : row.tensors)
      if (const auto match = match_name(rule.pattern, name);
          match && rule.part != Part::grouped_qkv)
        return WeightKey{rule.role, match->layer, match->expert, is_bias};
  return std::nullopt;
}

}  // namespace phiquant
