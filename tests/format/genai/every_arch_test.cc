// Every architecture of the table x every target x every precision: what its weights become follows
// from the decoder alone, and no target gets what it cannot run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "format/genai/genai_checkpoint.h"
#include "format/genai/targets.h"
#include "format/plans.h"
#include "model/arch/arch.h"

namespace phiquant::format {
namespace {

bool has(const Architecture& row, Role role) {
  return std::any_of(row.tensors.begin(), row.tensors.end(),
                     [&](const TensorRule& rule) { return rule.role == role; });
}
bool has(const Architecture& row, Part part) {
  return std::any_of(row.tensors.begin(), row.tensors.end(),
                     [&](const TensorRule& rule) { return rule.part == part; });
}

// Small numbers for each block of the table: what the architecture's own function sets for a
// config.
Decoder decoder_of(const Architecture& row, bool tied) {
  Decoder d;
  d.n_layers = 2;
  d.hidden = 64;
  d.n_heads = d.n_kv_heads = 2;
  d.head_size = 32;
  d.ffn = 96;
  d.vocab = 128;
  d.context = 256;
  d.rope.dims = 32;
  d.rope.short_branch.factors.assign(16, 1.0f);
  d.tied_embeddings = tied;
  if (!has(row, Role::mlp_norm)) {
    d.norm = NormKind::layer;
    d.activation = Activation::gelu_tanh;
    d.gated_mlp = d.fused_qkv = d.fused_gate_up = false;
    d.parallel_residual = true;
    d.attention_bias = d.mlp_bias = d.norm_bias = d.lm_head_bias = true;
  } else if (has(row, Role::router)) {
    d.norm = NormKind::layer;
    d.norm_bias = d.attention_bias = d.lm_head_bias = true;
    d.fused_qkv = d.fused_gate_up = false;
    d.moe = MoE{4, 2, 0.01f};
  } else if (has(row, Part::grouped_qkv)) {
    d.norm = NormKind::layer;
    d.activation = Activation::gegelu;
    d.gated_mlp = d.fused_qkv = d.fused_gate_up = false;
    d.attention_bias = d.mlp_bias = d.norm_bias = true;
    d.block_sparse = BlockSparse{64, 2, 2, false, 2};
  }
  return d;
}

void put(Checkpoint& c, const WeightKey& key, Shape shape) {
  c.weights[key] =
      pattern(std::string(role_name(key.role)) + std::to_string(key.layer), std::move(shape));
}

// The tensors that the row's table demands, by their roles.
void fill(Checkpoint& c, const Architecture& row) {
  const Decoder& d = c.decoder;
  for (const TensorRule& rule : row.tensors) {
    if (rule.role == Role::ignored || rule.dims.d[0] == Dim::none || !is_required(rule.when, d))
      continue;
    const bool per_layer = rule.pattern.find("{layer}") != std::string_view::npos;
    const bool per_expert = rule.pattern.find("{expert}") != std::string_view::npos;
    for (int32_t layer = per_layer ? 0 : -1; layer < (per_layer ? 2 : 0); ++layer) {
      WeightKey key{rule.role, layer, -1, rule.pattern.ends_with(".bias")};
      Shape shape;
      for (const Dim dim : rule.dims.d)
        if (dim != Dim::none) shape.push_back(dim_size(dim, d));
      if (rule.part == Part::grouped_qkv) {
        // Read as three weights.
        for (const Role part : {Role::attn_q, Role::attn_k, Role::attn_v}) {
          shape[0] = uint64_t{d.n_heads} * d.head_size;
          put(c, {part, layer, -1, key.bias}, shape);
        }
      } else if (per_expert) {
        for (key.expert = 0; key.expert < static_cast<int32_t>(d.moe->n_experts); ++key.expert)
          put(c, key, shape);
      } else {
        if (d.activation == Activation::gegelu && rule.role == Role::mlp_up) shape[0] = 2 * d.ffn;
        put(c, key, shape);
      }
    }
  }
}

Checkpoint checkpoint_of(const Architecture& row, bool tied) {
  Checkpoint c = small_checkpoint();
  c.architecture = row.class_name;
  c.model_type = row.model_type;
  c.decoder = decoder_of(row, tied);
  c.weights.clear();
  fill(c, row);
  return c;
}

std::string summary(const Plan& plan) {
  std::string text;
  for (const PlanRow& row : plan.rows)
    text +=
        row.tensor + " " + row.action + " " + std::to_string(row.bits) + " " + row.reason + "\n";
  return text;
}

const PlanRow* row_of(const Plan& plan, std::string_view part) {
  const auto it = std::find_if(plan.rows.begin(), plan.rows.end(), [&](const PlanRow& r) {
    return r.tensor.find(part) != std::string::npos;
  });
  return it == plan.rows.end() ? nullptr : &*it;
}

bool is_float(const PlanRow& row) { return row.action == "keep" || row.action == "cast"; }

void check_int4(const Checkpoint& c, const Plan& plan, const TargetInfo& target) {
  const PlanRow* head = row_of(plan, "lm_head");
  ASSERT_NE(head, nullptr);
  const PlanRow* down = row_of(plan, c.decoder.parallel_residual ? "fc2" : "down_proj");
  ASSERT_NE(down, nullptr);
  const bool protects_down = c.decoder.tied_embeddings && c.decoder.gated_mlp && !c.decoder.moe;
  if (target.fixed_shapes) {
    for (const PlanRow& row : plan.rows) EXPECT_NE(row.bits, 8u) << row.tensor;
    EXPECT_TRUE(is_float(*head));
    EXPECT_EQ(is_float(*down), protects_down);
    return;
  }
  EXPECT_EQ(head->bits, 8u);
  EXPECT_EQ(down->bits, protects_down ? 8u : 4u);
}

TEST(EveryArchitecture, OnEveryTargetInEveryPrecision) {
  size_t n_planned = 0;
  for (const Architecture& row : architectures())
    for (const bool tied : {false, true}) {
      if (!row.decoder) continue;
      const Checkpoint c = checkpoint_of(row, tied);
      Checkpoint unnamed = c;
      unnamed.architecture = unnamed.model_type = "";
      for (const TargetInfo& target : targets())
        for (const Precision precision : {Precision::int4, Precision::int8, Precision::fp16,
                                          Precision::bf16, Precision::fp32}) {
          SCOPED_TRACE(std::string(row.class_name) + (tied ? " tied " : " ") +
                       std::string(target.name) + " " +
                       std::string(kPrecisionNames[static_cast<size_t>(precision)]));
          Request r = request(precision, target.target);
          if (target.fixed_shapes) r.output.onnx.sequence_length = 32;
          const auto plan = plan_checkpoint(c, r);
          if (!runs(target, precision)) {
            ASSERT_FALSE(plan);
            EXPECT_EQ(plan.error().code, Errc::usage);
            continue;
          }
          if (!plan) {
            // The block-sparse operator has no kernel on some providers.
            EXPECT_TRUE(c.decoder.block_sparse) << plan.error().message;
            EXPECT_EQ(plan.error().code, Errc::usage) << plan.error().message;
            continue;
          }
          ++n_planned;
          // No decision reads a name.
          const auto again = plan_checkpoint(unnamed, r);
          ASSERT_TRUE(again);
          EXPECT_EQ(summary(*plan), summary(*again));
          if (precision == Precision::int4) check_int4(c, *plan, target);
        }
    }
  // cpu 3, cuda 5, dml 2, webgpu 2, qnn 2; of the block-sparse one cpu 3, cuda 4, qnn 2.
  EXPECT_EQ(n_planned, 2u * (7 * 14 + 9));
}

}  // namespace
}  // namespace phiquant::format
