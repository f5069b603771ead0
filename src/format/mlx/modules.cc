#include "format/mlx/modules.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "core/sources.h"

namespace phiquant::format {
namespace {

// Source: mlx_lm 0.32.2, models/phi3.py, phi.py, phimoe.py, phi3small.py.
constexpr MlxModuleRule kEmbed[] = {{"model.embed_tokens", Role::embed}};
constexpr MlxModuleRule kPhi3Layer[] = {
    {"model.layers.{}.self_attn.qkv_proj", Role::attn_qkv},
    {"model.layers.{}.self_attn.o_proj", Role::attn_out},
    {"model.layers.{}.mlp.gate_up_proj", Role::mlp_gate_up},
    {"model.layers.{}.mlp.down_proj", Role::mlp_down},
    {"model.layers.{}.input_layernorm", Role::attn_norm},
    {"model.layers.{}.post_attention_layernorm", Role::mlp_norm},
};
constexpr MlxModuleRule kPhi3Behind[] = {
    {"model.norm", Role::final_norm},
    {"lm_head", Role::lm_head},
};
constexpr MlxModuleRule kPhiLayer[] = {
    {"model.layers.{}.self_attn.q_proj", Role::attn_q, true},
    {"model.layers.{}.self_attn.k_proj", Role::attn_k, true},
    {"model.layers.{}.self_attn.v_proj", Role::attn_v, true},
    {"model.layers.{}.self_attn.dense", Role::attn_out, true},
    {"model.layers.{}.input_layernorm", Role::attn_norm, true},
    {"model.layers.{}.mlp.fc1", Role::mlp_up, true},
    {"model.layers.{}.mlp.fc2", Role::mlp_down, true},
};
constexpr MlxModuleRule kPhiBehind[] = {
    {"model.final_layernorm", Role::final_norm, true},
    {"lm_head", Role::lm_head, true},
};
constexpr MlxModuleRule kPhiMoeLayer[] = {
    {"model.layers.{}.self_attn.q_proj", Role::attn_q, true},
    {"model.layers.{}.self_attn.k_proj", Role::attn_k, true},
    {"model.layers.{}.self_attn.v_proj", Role::attn_v, true},
    {"model.layers.{}.self_attn.o_proj", Role::attn_out, true},
    {"model.layers.{}.block_sparse_moe.gate", Role::router},
    {"model.layers.{}.block_sparse_moe.switch_mlp.gate_proj", Role::expert_gate},
    {"model.layers.{}.block_sparse_moe.switch_mlp.up_proj", Role::expert_up},
    {"model.layers.{}.block_sparse_moe.switch_mlp.down_proj", Role::expert_down},
    {"model.layers.{}.input_layernorm", Role::attn_norm, true},
    {"model.layers.{}.post_attention_layernorm", Role::mlp_norm, true},
};
constexpr MlxModuleRule kPhiMoeBehind[] = {
    {"model.norm", Role::final_norm, true},
    {"lm_head", Role::lm_head, true},
};

constexpr MlxModuleRule kPhi3SmallLayer[] = {
    {"model.layers.{}.self_attn.query_key_value", Role::attn_qkv, true},
    {"model.layers.{}.self_attn.dense", Role::attn_out, true},
    {"model.layers.{}.mlp.up_proj", Role::mlp_up, true},
    {"model.layers.{}.mlp.down_proj", Role::mlp_down, true},
    {"model.layers.{}.input_layernorm", Role::attn_norm, true},
    {"model.layers.{}.post_attention_layernorm", Role::mlp_norm, true},
};
constexpr MlxModuleRule kPhi3SmallBehind[] = {
    {"model.final_layernorm", Role::final_norm, true},
};

constexpr MlxModel kPhi3 = {"phi3",     "Phi3ForCausalLM", kEmbed,
                            kPhi3Layer, kPhi3Behind,       MlxTying::stated};
constexpr MlxModel kPhi = {"phi", "PhiForCausalLM", kEmbed, kPhiLayer, kPhiBehind};
constexpr MlxModel kPhiMoe = {"phimoe", "PhiMoEForCausalLM", kEmbed, kPhiMoeLayer, kPhiMoeBehind};
constexpr MlxModel kPhi3Small = {"phi3small",      "Phi3SmallForCausalLM", kEmbed, kPhi3SmallLayer,
                                 kPhi3SmallBehind, MlxTying::always,       true,   true};

bool is_expert(Role role) {
  return role == Role::expert_gate || role == Role::expert_up || role == Role::expert_down;
}

class Collector {
 public:
  Collector(const Checkpoint& checkpoint, bool tied)
      : c_(checkpoint), model_(mlx_model(checkpoint.decoder)), tied_(tied) {}

  Result<std::vector<MlxModule>> run() {
    for (const MlxModuleRule& rule : model_.before) PHIQUANT_TRY(add(rule, -1));
    for (int32_t i = 0; i < static_cast<int32_t>(c_.decoder.n_layers); ++i)
      for (const MlxModuleRule& rule : model_.layer) PHIQUANT_TRY(add(rule, i));
    for (const MlxModuleRule& rule : model_.behind) PHIQUANT_TRY(add(rule, -1));
    return std::move(modules_);
  }

 private:
  Result<void> add(const MlxModuleRule& rule, int32_t layer);
  Result<SourceTensor> joined(const std::string& path, std::initializer_list<Role> parts,
                              int32_t layer) const;
  std::optional<SourceTensor> grouped(const std::string& name, int32_t layer, bool bias) const;
  Result<SourceTensor> stacked(const std::string& path, Role role, int32_t layer) const;
  Result<SourceTensor> weight(const MlxModuleRule& rule, const std::string& path,
                              int32_t layer) const;
  Error lacks(const std::string& what) const {
    return {Errc::unsupported,
            fmt::format("{}: no weight for '{}' of mlx_lm's class '{}' (wanted one of phi, phi3, "
                        "phi3small or phimoe)",
                        c_.folder.string(), what, model_.model_type)};
  }

  const Checkpoint& c_;
  const MlxModel& model_;
  bool tied_;
  std::vector<MlxModule> modules_;
};

Result<SourceTensor> Collector::joined(const std::string& path, std::initializer_list<Role> parts,
                                       int32_t layer) const {
  std::vector<SourceTensor> tensors;
  for (const Role part : parts) {
    const SourceTensor* t = c_.find(part, layer);
    if (!t) return lacks(path);
    tensors.push_back(*t);
  }
  return concat_rows(path + ".weight", tensors);
}

// The rows of q, k and v with those of a key head together.
std::optional<SourceTensor> Collector::grouped(const std::string& name, int32_t layer,
                                               bool bias) const {
  const Decoder& d = c_.decoder;
  const SourceTensor *q = c_.find(Role::attn_q, layer, bias),
                     *k = c_.find(Role::attn_k, layer, bias),
                     *v = c_.find(Role::attn_v, layer, bias);
  if (!q || !k || !v) return std::nullopt;
  const uint64_t size = d.head_size, queries = d.n_heads / d.n_kv_heads * size;
  std::vector<SourceTensor> rows;
  for (uint64_t head = 0; head < d.n_kv_heads; ++head) {
    rows.push_back(slice_rows(*q, head * queries, queries));
    rows.push_back(slice_rows(*k, head * size, size));
    rows.push_back(slice_rows(*v, head * size, size));
  }
  return concat_rows(name, rows);
}

Result<SourceTensor> Collector::stacked(const std::string& path, Role role, int32_t layer) const {
  std::vector<SourceTensor> experts;
  for (uint32_t e = 0; e < (c_.decoder.moe ? c_.decoder.moe->n_experts : 0); ++e) {
    const SourceTensor* t = c_.find(role, layer, false, static_cast<int32_t>(e));
    if (!t) return lacks(path);
    experts.push_back(*t);
  }
  if (experts.empty()) return lacks(path);
  const Shape one = experts.front().shape;
  SourceTensor all = concat_rows(path + ".weight", experts);
  all.shape = {experts.size(), one[0], one[1]};
  return all;
}

Result<SourceTensor> Collector::weight(const MlxModuleRule& rule, const std::string& path,
                                       int32_t layer) const {
  if (is_expert(rule.role)) return stacked(path, rule.role, layer);
  if (const SourceTensor* t = c_.find(rule.role, layer)) return *t;
  if (rule.role == Role::lm_head)
    if (const SourceTensor* t = c_.find(Role::embed)) return *t;
  if (rule.role == Role::attn_qkv && model_.groups_qkv) {
    if (auto all = grouped(path + ".weight", layer, false)) return std::move(*all);
    return lacks(path);
  }
  if (rule.role == Role::attn_qkv)
    return joined(path, {Role::attn_q, Role::attn_k, Role::attn_v}, layer);
  if (rule.role == Role::mlp_gate_up) return joined(path, {Role::mlp_gate, Role::mlp_up}, layer);
  return lacks(path);
}

Result<void> Collector::add(const MlxModuleRule& rule, int32_t layer) {
  if (rule.role == Role::lm_head && tied_) return {};
  MlxModule m;
  m.path = layer < 0 ? std::string(rule.pattern) : fmt::format(fmt::runtime(rule.pattern), layer);
  m.role = rule.role;
  m.layer = layer;
  PHIQUANT_ASSIGN(m.weight, weight(rule, m.path, layer));
  if (const SourceTensor* bias = c_.find(rule.role, layer, true)) {
    m.bias.push_back(*bias);
  } else if (rule.role == Role::attn_qkv && model_.groups_qkv) {
    if (auto all = grouped(m.path + ".bias", layer, true)) m.bias.push_back(std::move(*all));
  }
  if (m.bias.empty() == rule.bias)
    return Error{Errc::unsupported,
                 fmt::format("{}: mlx_lm's class '{}' has {} bias in '{}', and the checkpoint {} "
                             "(it would not load)",
                             c_.folder.string(), model_.model_type, rule.bias ? "a" : "no", m.path,
                             rule.bias ? "has none" : "has one")};
  modules_.push_back(std::move(m));
  return {};
}

}  // namespace

const MlxModel& mlx_model(const Decoder& d) {
  if (d.moe) return kPhiMoe;
  if (d.block_sparse) return kPhi3Small;
  return d.parallel_residual ? kPhi : kPhi3;
}

Result<void> check_mlx_class(const Checkpoint& c) {
  const Decoder& d = c.decoder;
  if (!d.block_sparse) return {};
  const BlockSparse& b = *d.block_sparse;
  // Its ids of unused tokens are constants, and it writes to the logits of each.
  constexpr uint32_t kVocabulary = 100352;
  const auto refuse = [&](const std::string& what) {
    return Error{Errc::unsupported,
                 fmt::format("{}: mlx_lm's class 'phi3small' {}", c.folder.string(), what)};
  };
  if (d.rope.long_branch)
    return refuse("has no rotary factors for long contexts (it runs the 8k model only)");
  if (b.dense_every != 2 || b.alike_heads || (d.n_heads > 1 && b.shift(1, d.n_heads) != 1) ||
      (b.block_size != 32 && b.block_size != 64))
    return refuse("computes another pattern of blocks than config.json states");
  if (d.vocab != kVocabulary)
    return refuse(fmt::format("wants a vocabulary of {}, it is {}", kVocabulary, d.vocab));
  if (!d.tied_embeddings) return refuse("has no lm_head of its own");
  return {};
}

Result<std::vector<MlxModule>> mlx_modules(const Checkpoint& checkpoint, bool tied) {
  return Collector(checkpoint, tied).run();
}

bool is_mlx_linear(Role role) {
  return role != Role::attn_norm && role != Role::mlp_norm && role != Role::final_norm;
}

}  // namespace phiquant::format
