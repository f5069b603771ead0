// Phi-3-small: what its config says, and its qkv, which keeps the rows of a key head together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/tiny_checkpoint.h"

namespace phiquant {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

// hidden 8, 4 heads of 2, 2 key heads, FFN 6, vocabulary 16, one layer.
TinyCheckpoint small() {
  TinyCheckpoint c;
  for (const char* key :
       {"intermediate_size", "rope_theta", "rms_norm_eps", "rope_scaling", "tie_word_embeddings"})
    c.config.erase(key);
  c.config.update({{"architectures", {"Phi3SmallForCausalLM"}},
                   {"model_type", "phi3small"},
                   {"num_attention_heads", 4},
                   {"num_key_value_heads", 2},
                   {"ff_intermediate_size", 6},
                   {"hidden_act", "gegelu"},
                   {"gegelu_limit", 3.0},
                   {"layer_norm_epsilon", 1e-3},
                   {"rope_embedding_base", 500.0},
                   {"mup_embedding_multiplier", 12.0},
                   {"mup_width_multiplier", 4.0},
                   {"mup_attn_multiplier", 3.0},
                   {"blocksparse_block_size", 32},
                   {"blocksparse_num_local_blocks", 5},
                   {"blocksparse_vert_stride", 9},
                   {"dense_attention_every_n_layers", 3}});
  c.tensors.clear();
  const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
    c.add(name + ".weight", shape);
    c.add(name + ".bias", {shape[0]});
  };
  c.add("model.embed_tokens.weight", {16, 8});
  const std::string layer = "model.layers.0.";
  add(layer + "input_layernorm", {8});
  add(layer + "self_attn.query_key_value", {16, 8});
  add(layer + "self_attn.dense", {8, 8});
  add(layer + "post_attention_layernorm", {8});
  add(layer + "mlp.up_proj", {12, 8});
  add(layer + "mlp.down_proj", {8, 6});
  add("model.final_layernorm", {8});
  return c;
}

Checkpoint open(const TinyCheckpoint& tiny, const TemporaryFolder& folder) {
  tiny.write(folder.path());
  auto c = open_checkpoint(folder.path());
  EXPECT_TRUE(c) << (c ? "" : c.error().message);
  return c ? std::move(*c) : Checkpoint{};
}
Decoder decoder_of(const TinyCheckpoint& tiny) { return open(tiny, TemporaryFolder()).decoder; }

std::string bytes_of(const SourceTensor& tensor) {
  std::string out(tensor.bytes->size_bytes(), '\0');
  EXPECT_TRUE(tensor.bytes->read(0, std::as_writable_bytes(std::span(out))));
  return out;
}

std::string refusal(const std::string& key, const json& value) {
  TinyCheckpoint c = small();
  c.config[key] = value;
  return outcome(c);
}

TEST(Phi3Small, Config) {
  const Decoder d = decoder_of(small());
  EXPECT_EQ(d.ffn, 6u);
  EXPECT_EQ(d.rope.theta, 500);
  EXPECT_EQ(d.norm, NormKind::layer);
  EXPECT_FLOAT_EQ(d.norm_eps, 1e-3f);
  EXPECT_EQ(d.activation, Activation::gegelu);
  EXPECT_EQ(d.activation_limit, 3.0f);
  EXPECT_EQ(d.attention_scale, 1.5f);  // 3 / head size
  EXPECT_EQ(d.embedding_scale, 12);
  EXPECT_EQ(d.logit_scale, 0.25f);
  EXPECT_TRUE(d.tied_embeddings);
  ASSERT_TRUE(d.block_sparse);
  EXPECT_EQ(d.block_sparse->block_size, 32u);
  EXPECT_EQ(d.block_sparse->local_blocks, 5u);
  EXPECT_EQ(d.block_sparse->vertical_stride, 9u);
  EXPECT_FALSE(d.block_sparse->alike_heads);
  EXPECT_TRUE(d.block_sparse->has(0));
  EXPECT_TRUE(d.block_sparse->has(1));
  EXPECT_FALSE(d.block_sparse->has(2));
}

TEST(Phi3Small, DefaultsAreThoseOfItsClass) {
  TinyCheckpoint c = small();
  for (const char* key : {"hidden_act", "gegelu_limit", "layer_norm_epsilon", "rope_embedding_base",
                          "mup_embedding_multiplier", "mup_width_multiplier", "mup_attn_multiplier",
                          "blocksparse_block_size", "blocksparse_num_local_blocks",
                          "blocksparse_vert_stride", "dense_attention_every_n_layers"})
    c.config.erase(key);
  const Decoder d = decoder_of(c);
  EXPECT_EQ(d.activation_limit, 20.0f);
  EXPECT_EQ(d.rope.theta, 1e6);
  EXPECT_EQ(d.attention_scale, 0.5f);
  EXPECT_EQ(d.embedding_scale, 10);
  EXPECT_EQ(d.logit_scale, 0.125f);
  EXPECT_EQ(d.block_sparse->block_size, 64u);
  EXPECT_EQ(d.block_sparse->local_blocks, 16u);
  EXPECT_EQ(d.block_sparse->vertical_stride, 8u);
  EXPECT_EQ(d.block_sparse->dense_every, 2u);
  c.config["mup_use_scaling"] = false;
  EXPECT_EQ(decoder_of(c).attention_scale, std::nullopt);
}

TEST(Phi3Small, UnusedTokens) {
  TinyCheckpoint c = small();
  EXPECT_THAT(decoder_of(c).unused_tokens, ElementsAre());  // the vocabulary ends before them
  c.config["dummy_token_indices"] = {3, 7};
  EXPECT_THAT(decoder_of(c).unused_tokens, ElementsAre(3, 7));
  const std::string no_list =
      "corrupt: F/config.json: 'dummy_token_indices' is no list of whole numbers below vocab_size "
      "16";
  EXPECT_EQ(refusal("dummy_token_indices", {16}), no_list);
  EXPECT_EQ(refusal("dummy_token_indices", {-1}), no_list);
  EXPECT_EQ(refusal("dummy_token_indices", 3), no_list);
}

TEST(Phi3Small, QkvIsCutOutOfItsGroups) {
  const TinyCheckpoint tiny = small();
  const TemporaryFolder folder;
  const Checkpoint c = open(tiny, folder);
  EXPECT_EQ(c.find(Role::attn_qkv, 0), nullptr);
  // Each group: 2 heads of queries, k, v, of 2 rows each.
  const auto cut = [&](const char* suffix, size_t row_bytes, std::vector<size_t> rows) {
    const std::string& all =
        tiny.tensors.at("model.layers.0.self_attn.query_key_value" + std::string(suffix)).bytes;
    std::string out;
    for (const size_t row : rows) out += all.substr(row * row_bytes, row_bytes);
    return out;
  };
  for (const bool bias : {false, true}) {
    const char* suffix = bias ? ".bias" : ".weight";
    const size_t row_bytes = bias ? 2 : 16;
    EXPECT_EQ(bytes_of(*c.find(Role::attn_q, 0, bias)),
              cut(suffix, row_bytes, {0, 1, 2, 3, 8, 9, 10, 11}));
    EXPECT_EQ(bytes_of(*c.find(Role::attn_k, 0, bias)), cut(suffix, row_bytes, {4, 5, 12, 13}));
    EXPECT_EQ(bytes_of(*c.find(Role::attn_v, 0, bias)), cut(suffix, row_bytes, {6, 7, 14, 15}));
  }
  EXPECT_EQ(c.find(Role::attn_k, 0)->shape, (Shape{4, 8}));
  EXPECT_EQ(c.find(Role::attn_k, 0, true)->shape, (Shape{4}));
}

TEST(Phi3Small, WhatNoPublishedModelHasIsRefused) {
  EXPECT_EQ(refusal("rope_position_scale", 2.0),
            "unsupported: F/config.json: rope_position_scale is 2 (every published Phi-3-small has "
            "1)");
  EXPECT_EQ(refusal("hidden_act", "silu"),
            "unsupported: F/config.json: unknown activation 'silu' (hidden_act; this architecture "
            "has gegelu)");
  for (const char* key : {"mup_embedding_multiplier", "mup_width_multiplier", "mup_attn_multiplier",
                          "gegelu_limit", "layer_norm_epsilon"})
    for (const double number : {1e-40, 1e40})
      EXPECT_THAT(refusal(key, number), HasSubstr("wanted a number from 1e-30 to 1e30")) << key;
  EXPECT_THAT(refusal("blocksparse_vert_stride", 0), HasSubstr("wanted a whole number from 1"));
  EXPECT_THAT(refusal("blocksparse_block_size", 1 << 21),
              HasSubstr("wanted a whole number from 1"));
  EXPECT_THAT(refusal("ff_intermediate_size", nullptr),
              HasSubstr("'ff_intermediate_size' is missing"));
}

TEST(Phi3Small, AQkvTensorThatIsMissingOrOfAnotherShapeIsNamed) {
  TinyCheckpoint c = small();
  c.tensors.erase("model.layers.0.self_attn.query_key_value.weight");
  EXPECT_THAT(outcome(c), HasSubstr("'model.layers.0.self_attn.query_key_value.weight'"));
  c = small();
  c.add("model.layers.0.self_attn.query_key_value.weight", {24, 8});
  EXPECT_THAT(outcome(c), HasSubstr("shape [24, 8], config.json wants [16, 8]"));
}

}  // namespace
}  // namespace phiquant
