#include "format/decoder/weights.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/sources.h"
#include "quant/numeric/cast_source.h"

namespace phiquant::format {

std::string layer_path(int32_t layer, const std::string& rest) {
  return fmt::format("/model/layers.{}/{}", layer, rest);
}

std::string dotted(const std::string& path) {
  std::string name = path.substr(path.starts_with('/') ? 1 : 0);
  std::replace(name.begin(), name.end(), '/', '.');
  return name;
}

namespace {

// Of one dtype: float32 where they differ.
std::vector<SourceTensor> alike(std::vector<SourceTensor> parts) {
  const bool differ = std::any_of(parts.begin(), parts.end(), [&](const SourceTensor& part) {
    return part.dtype != parts[0].dtype;
  });
  if (differ)
    for (SourceTensor& part : parts) part = cast_source(part, DType::f32);
  return parts;
}

}  // namespace

class WeightCollector {
 public:
  WeightCollector(const Checkpoint& checkpoint, const WeightLayout& layout)
      : c_(checkpoint), d_(checkpoint.decoder), layout_(layout) {}

  Result<GraphWeights> run() {
    add_embedding();
    for (int32_t i = 0; i < static_cast<int32_t>(d_.n_layers); ++i) {
      add_attention(i);
      if (d_.moe)
        add_moe(i);
      else
        add_mlp(i);
    }
    add_head();
    if (!error_) return error_.error();
    return std::move(out_);
  }

 private:
  SourceTensor get(Role role, int32_t layer, bool bias = false, int32_t expert = -1) {
    if (const SourceTensor* tensor = c_.find(role, layer, bias, expert)) return *tensor;
    if (error_)
      error_ =
          Error{Errc::unsupported,
                fmt::format("{}: layer {} has no {} {}, which its block needs", c_.folder.string(),
                            layer, role_name(role), bias ? "bias" : "weight")};
    return {};
  }
  bool has(Role role, int32_t layer, bool bias = false) const {
    return c_.find(role, layer, bias) != nullptr;
  }
  // The bias of a role, where it has one.
  std::optional<SourceTensor> bias(Role role, int32_t layer) {
    if (!has(role, layer, true)) return std::nullopt;
    return get(role, layer, true);
  }

  void add(GraphWeight w, const WeightKey& key, SlotKind kind, std::string tensor,
           std::string node) {
    if (!error_) return;
    Slot& slot = w.slot;
    slot.key = key;
    slot.kind = kind;
    slot.tensor = std::move(tensor);
    slot.node = std::move(node);
    slot.names = {slot.node};
    slot.k = w.rows.shape[1];
    slot.n = w.rows.shape[0];
    slot.shape = kind == SlotKind::table ? Shape{slot.n, slot.k} : Shape{slot.k, slot.n};
    slot.dtype = w.rows.dtype;
    slot.seen = key.role == Role::router ? DType::f32 : layout_.io;
    slot.bytes = w.rows.bytes->size_bytes();
    out_.index_[key] = out_.all_.size();
    out_.all_.push_back(std::move(w));
  }

  void add_linear(const WeightKey& key, std::string path, SourceTensor rows,
                  std::optional<SourceTensor> bias) {
    std::string tensor = dotted(path) + ".MatMul.weight", node = path + "/MatMul";
    add({{}, std::move(path), std::move(rows), std::move(bias)}, key, SlotKind::linear,
        std::move(tensor), std::move(node));
  }

  void add_embedding() {
    const std::string path = "/model/embed_tokens";
    add({{}, path, get(Role::embed, -1), std::nullopt}, {Role::embed}, SlotKind::table,
        "model.embed_tokens.weight", path + "/Gather");
    if (error_) out_.all_.back().slot.is_tied = d_.tied_embeddings;
  }

  void add_head() {
    const Role role = d_.tied_embeddings && !has(Role::lm_head, -1) ? Role::embed : Role::lm_head;
    add_linear({Role::lm_head}, "/lm_head", get(role, -1), bias(Role::lm_head, -1));
  }

  // ---- Attention ----

  struct Projections {
    SourceTensor q, k, v;
  };

  // The rows (or biases) of q, k and v, wherever the checkpoint keeps them.
  Projections projections(int32_t layer, bool bias) {
    if (!has(Role::attn_qkv, layer, bias))
      return {get(Role::attn_q, layer, bias), get(Role::attn_k, layer, bias),
              get(Role::attn_v, layer, bias)};
    const uint64_t q = uint64_t{d_.n_heads} * d_.head_size,
                   kv = uint64_t{d_.n_kv_heads} * d_.head_size;
    const SourceTensor all = get(Role::attn_qkv, layer, bias);
    return {slice_rows(all, 0, q), slice_rows(all, q, kv), slice_rows(all, q + kv, kv)};
  }

  SourceTensor packed(int32_t layer, bool bias) {
    if (has(Role::attn_qkv, layer, bias)) return get(Role::attn_qkv, layer, bias);
    const Projections p = projections(layer, bias);
    if (!error_) return {};
    return concat_rows(p.q.name, alike({p.q, p.k, p.v}));
  }

  void add_attention(int32_t layer) {
    const bool biased = has(Role::attn_qkv, layer, true) || has(Role::attn_q, layer, true);
    const auto path = [&](const char* rest) { return layer_path(layer, rest); };
    if (layout_.packed_qkv) {
      add_linear({Role::attn_qkv, layer}, path("attn/qkv_proj"), packed(layer, false),
                 biased ? std::optional(packed(layer, true)) : std::nullopt);
    } else {
      const Projections rows = projections(layer, false);
      Projections b;
      if (biased) b = projections(layer, true);
      const auto bias_of = [&](const SourceTensor& t) {
        return biased ? std::optional(t) : std::nullopt;
      };
      add_linear({Role::attn_q, layer}, path("attn/q_proj"), rows.q, bias_of(b.q));
      add_linear({Role::attn_k, layer}, path("attn/k_proj"), rows.k, bias_of(b.k));
      add_linear({Role::attn_v, layer}, path("attn/v_proj"), rows.v, bias_of(b.v));
    }
    add_linear({Role::attn_out, layer}, path("attn/o_proj"), get(Role::attn_out, layer),
               bias(Role::attn_out, layer));
  }

  // ---- MLP ----

  void add_mlp(int32_t layer) {
    const auto path = [&](const char* name) {
      return layer_path(layer, std::string("mlp/") + name);
    };
    if (!d_.gated_mlp) {
      const bool pairs = d_.activation == Activation::gegelu;
      add_linear({Role::mlp_up, layer}, path(pairs ? "up_proj" : "fc1"), get(Role::mlp_up, layer),
                 bias(Role::mlp_up, layer));
      add_linear({Role::mlp_down, layer}, path(pairs ? "down_proj" : "fc2"),
                 get(Role::mlp_down, layer), bias(Role::mlp_down, layer));
      return;
    }
    if (has(Role::mlp_gate_up, layer)) {
      const SourceTensor rows = get(Role::mlp_gate_up, layer);
      const auto b = bias(Role::mlp_gate_up, layer);
      const auto half = [&](uint64_t first) {
        return b ? std::optional(slice_rows(*b, first, d_.ffn)) : std::nullopt;
      };
      add_linear({Role::mlp_gate, layer}, path("gate_proj"), slice_rows(rows, 0, d_.ffn), half(0));
      add_linear({Role::mlp_up, layer}, path("up_proj"), slice_rows(rows, d_.ffn, d_.ffn),
                 half(d_.ffn));
    } else {
      add_linear({Role::mlp_gate, layer}, path("gate_proj"), get(Role::mlp_gate, layer),
                 bias(Role::mlp_gate, layer));
      add_linear({Role::mlp_up, layer}, path("up_proj"), get(Role::mlp_up, layer),
                 bias(Role::mlp_up, layer));
    }
    add_linear({Role::mlp_down, layer}, path("down_proj"), get(Role::mlp_down, layer),
               bias(Role::mlp_down, layer));
  }

  // ---- Experts ----

  void add_moe(int32_t layer) {
    add_linear({Role::router, layer}, layer_path(layer, "moe/router"), get(Role::router, layer),
               std::nullopt);
    if (layout_.stacked_experts[static_cast<size_t>(layer)]) return add_stacks(layer);
    for (int32_t e = 0; e < static_cast<int32_t>(d_.moe->n_experts); ++e) {
      const std::string rest = fmt::format("moe/experts.{}/", e);
      const auto add_one = [&](const char* name, Role role) {
        add_linear({role, layer, e}, layer_path(layer, rest + name), get(role, layer, false, e),
                   std::nullopt);
      };
      add_one("gate_proj", Role::expert_gate);
      add_one("up_proj", Role::expert_up);
      add_one("down_proj", Role::expert_down);
    }
  }

  // All experts' rows, one matrix below the other: rows of gate and up by turns, and the rows of
  // down.
  void add_stacks(int32_t layer) {
    std::vector<SourceTensor> in, out;
    for (int32_t e = 0; e < static_cast<int32_t>(d_.moe->n_experts); ++e) {
      std::vector<SourceTensor> pair = {get(Role::expert_gate, layer, false, e),
                                        get(Role::expert_up, layer, false, e)};
      out.push_back(get(Role::expert_down, layer, false, e));
      if (!error_) return;
      pair = alike(std::move(pair));
      in.push_back(interleave_rows(pair[0], pair[1]));
    }
    add_stack(layer, Role::expert_gate, "gate_up_proj", std::move(in));
    add_stack(layer, Role::expert_down, "down_proj", std::move(out));
  }

  void add_stack(int32_t layer, Role role, const char* name, std::vector<SourceTensor> experts) {
    const uint64_t n_experts = experts.size(), n = experts[0].shape[0], k = experts[0].shape[1];
    const std::string path = layer_path(layer, std::string("moe/experts/") + name);
    experts = alike(std::move(experts));
    SourceTensor rows = concat_rows(experts[0].name, experts);
    add({{}, path, std::move(rows), std::nullopt}, {role, layer}, SlotKind::experts,
        dotted(path) + ".weight", layer_path(layer, "moe/QMoE"));
    Slot& slot = out_.all_.back().slot;
    slot.stack = n_experts;
    slot.n = n;
    slot.shape = {n_experts, n, k};
  }

  const Checkpoint& c_;
  const Decoder& d_;
  const WeightLayout& layout_;
  GraphWeights out_;
  Result<void> error_;
};

Result<GraphWeights> GraphWeights::collect(const Checkpoint& checkpoint,
                                           const WeightLayout& layout) {
  return WeightCollector(checkpoint, layout).run();
}

std::vector<Slot> GraphWeights::slots() const {
  std::vector<Slot> slots;
  for (const GraphWeight& w : all_) slots.push_back(w.slot);
  return slots;
}

}  // namespace phiquant::format
