// GGUF models as checkpoints: numbers come back as configs state them, and metadata or tensors that
// do not fit are refused, each with its exact words.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/input_file.h"
#include "model/gguf/checkpoint.h"
#include "quant/ggml/gguf_floats.h"
#include "wire/gguf_bytes.h"
#include "wire/gguf_header.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

using nlohmann::json;

// A Phi-3 of one layer, two heads of four values, and a vocabulary of three.
struct TinyGguf {
  std::vector<GgufKeyValue> keys = {{"general.architecture", std::string("phi3")},
                                    {"phi3.attention.layer_norm_rms_epsilon", 1e-5f},
                                    {"phi3.context_length", uint32_t{64}},
                                    {"phi3.embedding_length", uint32_t{8}},
                                    {"phi3.feed_forward_length", uint32_t{8}},
                                    {"phi3.block_count", uint32_t{1}},
                                    {"phi3.attention.head_count", uint32_t{2}},
                                    {"phi3.attention.head_count_kv", uint32_t{2}},
                                    {"phi3.rope.dimension_count", uint32_t{4}},
                                    {"phi3.rope.freq_base", 10000.0f},
                                    {"phi3.rope.scaling.original_context_length", uint32_t{16}},
                                    {"phi3.rope.scaling.attn_factor", 1.19f}};
  std::vector<GgufTensor> tensors;

  TinyGguf() {
    for (const auto& [name, shape] :
         std::map<std::string, Shape>{{"token_embd.weight", {3, 8}},
                                      {"output_norm.weight", {8}},
                                      {"output.weight", {3, 8}},
                                      {"blk.0.attn_norm.weight", {8}},
                                      {"blk.0.ffn_norm.weight", {8}},
                                      {"blk.0.attn_qkv.weight", {24, 8}},
                                      {"blk.0.attn_output.weight", {8, 8}},
                                      {"blk.0.ffn_up.weight", {16, 8}},
                                      {"blk.0.ffn_down.weight", {8, 8}}})
      set(name, shape);
    set("rope_factors_short.weight", {2}, {1.0f, 1.03f});
    set("rope_factors_long.weight", {2}, {1.08f, 64.3f});
  }
  void set(const std::string& name, Shape shape, std::vector<float> values = {}) {
    values.resize(std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>()));
    std::string bytes(values.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    set_bytes(name, std::move(shape), kGgmlF32, bytes);
  }
  void set_bytes(const std::string& name, Shape shape, GgmlType type, std::string bytes) {
    erase(name);
    GgufTensor t{name, std::move(shape), type, memory_source(std::move(bytes)), {}, 0};
    t.floats = gguf_floats(t);
    tensors.push_back(std::move(t));
  }
  void erase(const std::string& name) {
    std::erase_if(tensors, [&](const GgufTensor& t) { return t.name == name; });
  }
  void set_key(const char* key, GgufValue value) { set_gguf_key(keys, key, std::move(value)); }

  GgufModel model() const {
    GgufModel m;
    m.path = "m.gguf";
    m.metadata = keys;
    m.tensors = tensors;
    return m;
  }
  std::string outcome() const {
    const auto checkpoint = gguf_checkpoint(model());
    if (checkpoint) return "accepted";
    const bool known =
        checkpoint.error().code == Errc::corrupt || checkpoint.error().code == Errc::unsupported;
    EXPECT_TRUE(known);
    return (checkpoint.error().code == Errc::corrupt ? "corrupt: " : "unsupported: ") +
           checkpoint.error().message;
  }
};

// The outcome of the tiny model after `change`.
std::string after(const std::function<void(TinyGguf&)>& change) {
  TinyGguf tiny;
  change(tiny);
  return tiny.outcome();
}
std::string without_key(const char* key) {
  return after([&](TinyGguf& t) { remove_gguf_key(t.keys, key); });
}
std::string with_key(const char* key, const GgufValue& value) {
  return after([&](TinyGguf& t) { t.set_key(key, value); });
}

TEST(GgufCheckpoint, NumbersAreTheShortestDecimalsOfTheirFloats) {
  const auto checkpoint = gguf_checkpoint(TinyGguf().model());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const json config = json::parse(checkpoint->config_json);
  EXPECT_EQ(config["rope_scaling"]["long_factor"].dump(), "[1.08,64.3]");
  EXPECT_EQ(config["rope_scaling"]["short_factor"].dump(), "[1.0,1.03]");
  EXPECT_EQ(config["rope_scaling"]["attention_factor"].dump(), "1.19");
  EXPECT_EQ(config["rms_norm_eps"].dump(), "1e-05");
  EXPECT_EQ(config["rope_theta"].dump(), "10000.0");
  // And the decoder has the floats of the file.
  EXPECT_EQ(checkpoint->decoder.rope.long_branch->factors, (std::vector<float>{1.08f, 64.3f}));
  EXPECT_EQ(checkpoint->decoder.rope.long_branch->attention_factor, 1.19f);
}

TEST(GgufCheckpoint, NumbersOfMorePrecisionAreKept) {
  TinyGguf tiny;
  tiny.set_key("phi3.rope.freq_base", 10000.000001);
  const auto checkpoint = gguf_checkpoint(tiny.model());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(json::parse(checkpoint->config_json)["rope_theta"].dump(), "10000.000001");
}

TEST(GgufCheckpoint, RefusesKeysThatDoNotFit) {
  for (const char* key : {"phi3.embedding_length", "phi3.feed_forward_length", "phi3.block_count",
                          "phi3.attention.head_count", "phi3.attention.head_count_kv",
                          "phi3.context_length", "phi3.rope.scaling.original_context_length"}) {
    const std::string wanted =
        std::string("corrupt: m.gguf: key '") + key + "' is missing, or no whole number";
    EXPECT_EQ(without_key(key), wanted);
    EXPECT_EQ(with_key(key, std::string("8")), wanted);
    EXPECT_EQ(with_key(key, int32_t{-8}), wanted);
  }
  EXPECT_EQ(without_key("phi3.attention.layer_norm_rms_epsilon"),
            "corrupt: m.gguf: key 'phi3.attention.layer_norm_rms_epsilon' is missing");
  EXPECT_EQ(with_key("phi3.attention.head_count", uint32_t{0}),
            "corrupt: m.gguf: 0 heads for 8 values");
  EXPECT_EQ(with_key("phi3.attention.head_count", uint32_t{3}),
            "corrupt: m.gguf: 3 heads for 8 values");
  EXPECT_EQ(with_key("phi3.block_count", uint64_t{1} << 63),
            "corrupt: m.gguf: key 'phi3.block_count' is missing, or no whole number");
  EXPECT_EQ(with_key("phi3.block_count", uint64_t{1} << 40),
            "corrupt: m.gguf: metadata: 'num_hidden_layers' is 1099511627776, wanted a whole "
            "number from 1 to 1024");
  EXPECT_EQ(with_key("phi3.attention.head_count_kv", uint32_t{0}),
            "corrupt: m.gguf: metadata: 'num_key_value_heads' is 0, wanted a whole number from 1 "
            "to 16384");
  EXPECT_EQ(with_key("phi3.attention.layer_norm_rms_epsilon", -1.0f),
            "corrupt: m.gguf: metadata: 'rms_norm_eps' is -1.0, wanted a number above 0");
  EXPECT_EQ(with_key("phi3.rope.freq_base", std::numeric_limits<float>::infinity()),
            "corrupt: m.gguf: metadata: 'rope_theta' is null, wanted a number above 0");
  EXPECT_EQ(with_key("phi3.rope.dimension_count", uint32_t{3}),
            "corrupt: m.gguf: metadata: partial_rotary_factor 0.75 of a head of 4 rotates 3 "
            "dimensions, wanted an even number from 2 to 4");
  EXPECT_EQ(with_key("phi3.rope.dimension_count", uint32_t{5}),
            "corrupt: m.gguf: metadata: partial_rotary_factor 1.25 of a head of 4 rotates 5 "
            "dimensions, wanted an even number from 2 to 4");
  EXPECT_EQ(with_key("phi3.rope.scaling.original_context_length", uint32_t{0}),
            "corrupt: m.gguf: metadata: 'original_max_position_embeddings' is 0, wanted a whole "
            "number from 1 to 1073741824");
  EXPECT_EQ(with_key("phi3.rope.scaling.attn_factor", std::nanf("")),
            "corrupt: m.gguf: metadata: rope_scaling: 'attention_factor' is null, wanted a number "
            "above 0");
  EXPECT_EQ(with_key("general.architecture", std::string("llama\n")),
            "unsupported: m.gguf: architecture 'llama\\x0a' (known: phi2, phi3, phimoe)");
  EXPECT_EQ(with_key("general.architecture", uint32_t{3}),
            "unsupported: m.gguf: architecture 'none' (known: phi2, phi3, phimoe)");
}

TEST(GgufCheckpoint, RefusesTensorsThatDoNotFit) {
  EXPECT_EQ(after([](TinyGguf& t) { t.erase("token_embd.weight"); }),
            "corrupt: m.gguf: tensor 'token_embd.weight' is missing, or no matrix");
  EXPECT_EQ(after([](TinyGguf& t) { t.set("token_embd.weight", {24}); }),
            "corrupt: m.gguf: tensor 'token_embd.weight' is missing, or no matrix");
  EXPECT_EQ(after([](TinyGguf& t) {
              t.set("token_embd.weight", {3, 4});
            }),
            "corrupt: m.gguf: tensor 'token_embd.weight': shape [3, 4], wanted [3, 8]");
  EXPECT_EQ(after([](TinyGguf& t) { t.erase("blk.0.attn_qkv.weight"); }),
            "corrupt: m.gguf: tensor 'blk.0.attn_qkv.weight' is missing");
  EXPECT_EQ(after([](TinyGguf& t) {
              t.set("blk.0.attn_qkv.weight", {8, 24});
            }),
            "corrupt: m.gguf: tensor 'blk.0.attn_qkv.weight': shape [8, 24], wanted [24, 8]");
  EXPECT_EQ(after([](TinyGguf& t) { t.set("blk.1.attn_norm.weight", {8}); }),
            "corrupt: m.gguf: tensor 'blk.1.attn_norm.weight' is not of Phi3ForCausalLM as the "
            "metadata describes it");
  EXPECT_EQ(after([](TinyGguf& t) { t.set("blk.0.attn_qkv.bias", {24}); }),
            "corrupt: m.gguf: tensor 'blk.0.attn_output.bias' is missing");
  EXPECT_EQ(after([](TinyGguf& t) {
              t.set_bytes("blk.0.ffn_norm.weight", {8}, kGgmlI8, std::string(8, '\1'));
            }),
            "unsupported: m.gguf: tensor 'blk.0.ffn_norm.weight': type i8 cannot be decoded here");
}

TEST(GgufCheckpoint, RefusesRopeFactorsThatDoNotFit) {
  const std::string name = "rope_factors_short.weight";
  EXPECT_EQ(after([&](TinyGguf& t) { t.erase(name); }),
            "corrupt: m.gguf: tensor 'rope_factors_short.weight' is missing, or no float32 vector");
  EXPECT_EQ(after([&](TinyGguf& t) {
              t.set(name, {1, 2});
            }),
            "corrupt: m.gguf: tensor 'rope_factors_short.weight' is missing, or no float32 vector");
  EXPECT_EQ(after([&](TinyGguf& t) {
              t.set(name, {3}, {1, 1, 1});
            }),
            "corrupt: m.gguf: metadata: rope_scaling: 'short_factor' has 3 numbers, wanted 2 (half "
            "of the rotated dimensions of a head)");
  EXPECT_EQ(after([&](TinyGguf& t) { t.set(name, {4097}); }),
            "corrupt: m.gguf: tensor 'rope_factors_short.weight' is missing, or no float32 vector");
  EXPECT_EQ(
      after([&](TinyGguf& t) {
        t.set(name, {2}, {1, -1});
      }),
      "corrupt: m.gguf: metadata: rope_scaling: 'short_factor' holds -1.0, wanted numbers above 0");
  EXPECT_EQ(
      after([&](TinyGguf& t) {
        t.set(name, {2}, {1, std::nanf("")});
      }),
      "corrupt: m.gguf: metadata: rope_scaling: 'short_factor' holds null, wanted numbers above 0");
  EXPECT_EQ(after([&](TinyGguf& t) { t.set_bytes(name, {32}, kGgmlQ8_0, std::string(34, '\1')); }),
            "corrupt: m.gguf: tensor 'rope_factors_short.weight' is missing, or no float32 vector");
  EXPECT_EQ(after([&](TinyGguf& t) { t.set_bytes(name, {2}, kGgmlF16, std::string(4, '\1')); }),
            "corrupt: m.gguf: tensor 'rope_factors_short.weight' is missing, or no float32 vector");
}

}  // namespace
}  // namespace phiquant
