// The five bundled checkpoints, as open_checkpoint reads them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/checkpoint.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

fs::path data(const std::string& name) {
  const fs::path tests(PHIQUANT_TEST_DATA);
  return name == "phi3-tiny" ? tests / "../../examples/phi3-tiny" : tests / "checkpoints" / name;
}

Checkpoint open(const std::string& name) {
  auto checkpoint = open_checkpoint(data(name));
  EXPECT_TRUE(checkpoint) << (checkpoint ? "" : checkpoint.error().message);
  return checkpoint ? std::move(*checkpoint) : Checkpoint{};
}

// One weight's first bytes, little-endian 16-bit elements.
std::vector<uint16_t> head_of(const SourceTensor& tensor, size_t n) {
  std::vector<uint16_t> out(n);
  EXPECT_TRUE(tensor.bytes->read(0, std::as_writable_bytes(std::span(out))));
  return out;
}

TEST(Checkpoint, Phi3) {
  const Checkpoint c = open("phi3-tiny");
  EXPECT_EQ(c.architecture, "Phi3ForCausalLM");
  EXPECT_EQ(c.model_type, "phi3");
  EXPECT_EQ(c.dtype, DType::bf16);
  EXPECT_THAT(c.warnings, IsEmpty());
  EXPECT_THAT(c.left_out, IsEmpty());
  const Decoder& d = c.decoder;
  EXPECT_EQ(d.n_layers, 4u);
  EXPECT_EQ(d.hidden, 256u);
  EXPECT_EQ(d.n_heads, 4u);
  EXPECT_EQ(d.n_kv_heads, 4u);
  EXPECT_EQ(d.head_size, 64u);
  EXPECT_EQ(d.ffn, 512u);
  EXPECT_EQ(d.vocab, 2048u);
  EXPECT_EQ(d.context, 16384u);
  EXPECT_EQ(d.sliding_window, 32768u);
  EXPECT_EQ(d.norm, NormKind::rms);
  EXPECT_EQ(d.norm_eps, 1e-5f);
  EXPECT_EQ(d.activation, Activation::silu);
  EXPECT_TRUE(d.gated_mlp && d.fused_qkv && d.fused_gate_up);
  EXPECT_FALSE(d.parallel_residual || d.attention_bias || d.mlp_bias || d.norm_bias ||
               d.lm_head_bias || d.tied_embeddings || d.moe);
  EXPECT_EQ(d.rope.theta, 10000);
  EXPECT_EQ(d.rope.dims, 64u);
  EXPECT_EQ(d.rope.original_context, 512u);
  ASSERT_EQ(d.rope.short_branch.factors.size(), 32u);
  EXPECT_EQ(d.rope.short_branch.factors[1], 1.02f);
  ASSERT_TRUE(d.rope.long_branch);
  EXPECT_EQ(d.rope.long_branch->factors[31], 32.05f);
  // sqrt(1 + ln 32 / ln 512) = sqrt(1 + 5/9)
  EXPECT_FLOAT_EQ(d.rope.short_branch.attention_factor, std::sqrt(14.0f / 9.0f));
  EXPECT_EQ(d.rope.long_branch->attention_factor, d.rope.short_branch.attention_factor);
  EXPECT_EQ(c.tokens.bos, 1);
  EXPECT_EQ(c.tokens.pad, 2000);
  EXPECT_THAT(c.tokens.eos,
              ElementsAre(2007, 2001, 2000));  // as onnxruntime-genai's builder 0.18 writes them
  EXPECT_EQ(c.weights.size(), 4u * 6 + 3);
  ASSERT_NE(c.find(Role::attn_qkv, 3), nullptr);
  EXPECT_EQ(c.find(Role::attn_qkv, 3)->shape, (Shape{768, 256}));
  EXPECT_EQ(c.find(Role::attn_qkv, 3)->name, "model.layers.3.self_attn.qkv_proj.weight");
  EXPECT_EQ(c.find(Role::attn_qkv, 4), nullptr);
  EXPECT_EQ(c.files.size(), 3u + 2 + 1 + 4);  // shards and index, configs, tokenizer files
  EXPECT_EQ(c.config_json.size(), 1841u);
  EXPECT_EQ(c.generation_config_json.size(), 168u);
}

TEST(Checkpoint, Phi4IsTiedAndPartlyRotated) {
  const Checkpoint c = open("phi4-tiny");
  EXPECT_THAT(c.warnings, IsEmpty());
  EXPECT_TRUE(c.decoder.tied_embeddings);
  EXPECT_EQ(c.find(Role::lm_head), nullptr);
  EXPECT_EQ(c.decoder.n_kv_heads, 2u);
  EXPECT_EQ(c.decoder.rope.dims, 48u);
  EXPECT_EQ(c.decoder.rope.long_branch->factors.size(), 24u);
  EXPECT_EQ(c.find(Role::attn_qkv, 0)->shape, (Shape{512, 256}));
  EXPECT_EQ(c.find(Role::mlp_gate_up, 0)->shape, (Shape{1408, 256}));
  EXPECT_THAT(c.tokens.eos, ElementsAre(2003, 2000));
}

TEST(Checkpoint, Phi3Mini4kHasPlainRope) {
  const Checkpoint c = open("phi3-4k-tiny");
  EXPECT_THAT(c.warnings, IsEmpty());
  EXPECT_FALSE(c.decoder.rope.long_branch);
  EXPECT_EQ(c.decoder.rope.original_context, 0u);
  EXPECT_THAT(c.decoder.rope.short_branch.factors, testing::Each(1.0f));
  EXPECT_EQ(c.decoder.rope.short_branch.factors.size(), 16u);
  EXPECT_EQ(c.decoder.rope.short_branch.attention_factor, 1.0f);
  EXPECT_EQ(c.decoder.sliding_window, 2047u);
  EXPECT_THAT(c.tokens.eos, ElementsAre(2000, 2001, 2007));
}

TEST(Checkpoint, Phi2) {
  const Checkpoint c = open("phi2-tiny");
  EXPECT_THAT(c.warnings, IsEmpty());
  EXPECT_EQ(c.dtype, DType::f16);
  const Decoder& d = c.decoder;
  EXPECT_EQ(d.norm, NormKind::layer);
  EXPECT_EQ(d.norm_eps, 1e-5f);
  EXPECT_EQ(d.activation, Activation::gelu_tanh);
  EXPECT_TRUE(d.parallel_residual && d.attention_bias && d.mlp_bias && d.norm_bias &&
              d.lm_head_bias);
  EXPECT_FALSE(d.gated_mlp || d.fused_qkv || d.fused_gate_up);
  EXPECT_FALSE(d.sliding_window);
  EXPECT_EQ(d.rope.dims, 16u);
  EXPECT_EQ(c.tokens.pad, 2000);
  EXPECT_EQ(c.weights.size(), 2u * 14 + 5);
  EXPECT_EQ(c.find(Role::mlp_up, 1)->shape, (Shape{512, 128}));
  EXPECT_EQ(c.find(Role::attn_k, 1, true)->shape, (Shape{128}));
  EXPECT_EQ(c.find(Role::mlp_norm, 0), nullptr);
}

TEST(Checkpoint, PhiMoe) {
  const Checkpoint c = open("phimoe-tiny");
  EXPECT_THAT(c.warnings, IsEmpty());
  const Decoder& d = c.decoder;
  EXPECT_EQ(d.norm, NormKind::layer);
  EXPECT_TRUE(d.norm_bias && d.attention_bias && d.lm_head_bias && d.gated_mlp);
  EXPECT_FALSE(d.mlp_bias || d.fused_qkv || d.fused_gate_up || d.parallel_residual);
  ASSERT_TRUE(d.moe);
  EXPECT_EQ(d.moe->n_experts, 4u);
  EXPECT_EQ(d.moe->n_used, 2u);
  EXPECT_EQ(d.moe->jitter_eps, 0.01f);
  EXPECT_EQ(d.rope.short_branch.attention_factor, 1.243163121016122f);
  EXPECT_EQ(d.rope.original_context, 512u);
  EXPECT_EQ(c.weights.size(), 2u * (4 + 8 + 1 + 4 * 3) + 5);
  EXPECT_EQ(c.find(Role::expert_gate, 1, false, 3)->name,
            "model.layers.1.block_sparse_moe.experts.3.w1.weight");
  EXPECT_EQ(c.find(Role::expert_up, 1, false, 3)->name,
            "model.layers.1.block_sparse_moe.experts.3.w3.weight");
  EXPECT_EQ(c.find(Role::expert_down, 0, false, 0)->shape, (Shape{128, 192}));
  EXPECT_EQ(c.find(Role::router, 0)->shape, (Shape{4, 128}));
}

TEST(Checkpoint, BytesAreThoseOfTheTensor) {
  // model.layers.1.self_attn.qkv_proj.weight of phi3-tiny, from the safetensors package.
  const Checkpoint c = open("phi3-tiny");
  EXPECT_THAT(head_of(*c.find(Role::attn_qkv, 1), 4), ElementsAre(0xbc8f, 0x3bc6, 0x3cec, 0xbd80));
}

}  // namespace
}  // namespace phiquant
