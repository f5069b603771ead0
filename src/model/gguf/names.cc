#include "model/gguf/names.h"

#include <charconv>
#include <system_error>

#include <fmt/core.h>

namespace phiquant {
namespace {

// The part of a name between the block and ".weight".
const char* base_name(Role role) {
  switch (role) {
    case Role::embed:
      return "token_embd";
    case Role::attn_norm:
      return "attn_norm";
    case Role::attn_qkv:
      return "attn_qkv";
    case Role::attn_q:
      return "attn_q";
    case Role::attn_k:
      return "attn_k";
    case Role::attn_v:
      return "attn_v";
    case Role::attn_out:
      return "attn_output";
    case Role::mlp_norm:
      return "ffn_norm";
    case Role::mlp_gate_up:  // the gate's rows first; llama.cpp knows it by the size
    case Role::mlp_up:
      return "ffn_up";
    case Role::mlp_gate:
      return "ffn_gate";
    case Role::mlp_down:
      return "ffn_down";
    case Role::router:
      return "ffn_gate_inp";
    case Role::expert_gate:
      return "ffn_gate_exps";
    case Role::expert_up:
      return "ffn_up_exps";
    case Role::expert_down:
      return "ffn_down_exps";
    case Role::final_norm:
      return "output_norm";
    case Role::lm_head:
      return "output";
    case Role::ignored:
      break;
  }
  return nullptr;
}

}  // namespace

std::string gguf_name(const WeightKey& key) {
  const char* base = base_name(key.role);
  if (!base) return {};
  const char* ending = key.bias ? "bias" : "weight";
  return key.layer < 0 ? fmt::format("{}.{}", base, ending)
                       : fmt::format("blk.{}.{}.{}", key.layer, base, ending);
}

std::optional<WeightKey> gguf_weight_key(std::string_view name, bool gated) {
  WeightKey key{Role::ignored};
  constexpr std::string_view kBlock = "blk.", kBias = ".bias", kWeight = ".weight";
  if (name.starts_with(kBlock)) {
    const char* end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + kBlock.size(), end, key.layer);
    if (error != std::errc() || key.layer < 0 || rest == end || *rest != '.') return std::nullopt;
    name = std::string_view(rest + 1, end);
  }
  key.bias = name.ends_with(kBias);
  if (!key.bias && !name.ends_with(kWeight)) return std::nullopt;
  name.remove_suffix(key.bias ? kBias.size() : kWeight.size());
  for (uint8_t r = 0; r < static_cast<uint8_t>(Role::ignored); ++r) {
    key.role = static_cast<Role>(r);
    if (key.role == (gated ? Role::mlp_up : Role::mlp_gate_up)) continue;
    if (name != base_name(key.role)) continue;
    if (name.ends_with("_exps")) key.expert = 0;
    return key;
  }
  return std::nullopt;
}

std::optional<WeightKey> gguf_slot_key(std::string_view name) {
  if (const auto key = gguf_weight_key(name, false)) return key;
  // Source: llama.cpp b11434, src/llama-quant.cpp, tensor_get_category and
  // tensor_allows_quantization.
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  WeightKey key{Role::ignored};
  constexpr std::string_view kBlock = "blk.";
  if (name.starts_with(kBlock))
    std::from_chars(name.data() + kBlock.size(), name.data() + name.size(), key.layer);
  key.bias = !name.ends_with("weight");
  if (has("_norm.weight"))
    key.role = Role::mlp_norm;
  else if (name == "per_layer_token_embd.weight")
    key.role = Role::embed;
  else if (has("attn_kv_b.weight"))
    key.role = Role::attn_v;
  else if (has("ffn_down"))
    key.role = Role::mlp_down;
  else
    return std::nullopt;
  return key;
}

}  // namespace phiquant
