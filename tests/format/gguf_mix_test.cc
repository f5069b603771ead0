// Types of tensors, as `llama-quantize --dry-run` b11434 gives them to models of 32 layers.
#include "format/gguf_mix.h"

#include <algorithm>
#include <map>

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace phiquant {
namespace {

constexpr uint32_t kLayers = 32;
const GgufMixModel kPhi3{kLayers, 32, 32, 0}, kPhi4{kLayers, 24, 8, 0}, kMoe{kLayers, 32, 8, 16};

std::vector<GgufMixTensor> phi3_tensors(bool tied = false, uint64_t ffn = 8192) {
  std::vector<GgufMixTensor> all = {{"output_norm.weight", {3072}},
                                    {"rope_factors_long.weight", {48}},
                                    {"token_embd.weight", {32064, 3072}}};
  if (!tied) all.insert(all.begin(), {"output.weight", {32064, 3072}});
  for (uint32_t i = 0; i < kLayers; ++i) {
    const std::string block = fmt::format("blk.{}.", i);
    all.push_back({block + "attn_norm.weight", {3072}});
    all.push_back({block + "attn_output.weight", {3072, 3072}});
    all.push_back({block + "attn_qkv.weight", {9216, 3072}});
    all.push_back({block + "ffn_down.weight", {3072, ffn}});
    all.push_back({block + "ffn_norm.weight", {3072}});
    all.push_back({block + "ffn_up.weight", {2 * ffn, 3072}});
  }
  return all;
}

std::vector<GgufMixTensor> moe_tensors() {
  std::vector<GgufMixTensor> all = {{"output.bias", {32064}},
                                    {"output.weight", {32064, 4096}},
                                    {"token_embd.weight", {32064, 4096}}};
  for (uint32_t i = 0; i < kLayers; ++i) {
    const std::string block = fmt::format("blk.{}.", i);
    for (const char* name : {"attn_k", "attn_q", "attn_v", "attn_output"})
      all.push_back({block + name + ".weight", {4096, 4096}});
    all.push_back({block + "ffn_down_exps.weight", {16, 4096, 6400}});
    all.push_back({block + "ffn_gate_exps.weight", {16, 6400, 4096}});
    all.push_back({block + "ffn_gate_inp.weight", {16, 4096}});
    all.push_back({block + "ffn_up_exps.weight", {16, 6400, 4096}});
  }
  return all;
}

using Types = std::map<std::string, std::string_view>;

Types types(const GgufMixModel& model, GgufMixOptions options, std::string_view file_type,
            std::vector<GgufMixTensor> tensors) {
  options.file_type = find_gguf_file_type(file_type);
  std::sort(tensors.begin(), tensors.end(),
            [](const auto& a, const auto& b) { return gguf_order(a.name, b.name); });
  const auto choices = choose_gguf_types(model, options, tensors);
  Types out;
  if (!choices) {
    ADD_FAILURE() << choices.error().message;
    return out;
  }
  for (size_t i = 0; i < tensors.size(); ++i)
    out[tensors[i].name] = find_ggml_type((*choices)[i].type)->name;
  return out;
}

// Layers whose tensor has a type: "0-3 6 9".
std::string layers(const Types& types, const std::string& tensor, std::string_view type) {
  std::string out;
  for (uint32_t i = 0; i < kLayers; ++i)
    if (types.at(fmt::format("blk.{}.{}", i, tensor)) == type)
      out += fmt::format("{}{}", out.empty() ? "" : " ", i);
  return out;
}

constexpr const char* kMore = "0 1 2 3 6 9 12 15 18 21 24 27 28 29 30 31";
const std::string kAll =
    "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 "
    "27 28 29 30 31";

TEST(GgufMix, Q4KM) {
  const Types t = types(kPhi3, {}, "q4_k_m", phi3_tensors());
  EXPECT_EQ(layers(t, "attn_qkv.weight", "q6_k"), kMore);
  EXPECT_EQ(layers(t, "ffn_down.weight", "q6_k"), kMore);
  EXPECT_EQ(layers(t, "attn_output.weight", "q4_k"), kAll);
  EXPECT_EQ(layers(t, "ffn_up.weight", "q4_k"), kAll);
  EXPECT_EQ(layers(t, "attn_norm.weight", "f32"), kAll);
  EXPECT_EQ(t.at("output.weight"), "q6_k");
  EXPECT_EQ(t.at("token_embd.weight"), "q4_k");
  EXPECT_EQ(t.at("rope_factors_long.weight"), "f32");
}

TEST(GgufMix, SmallerMixes) {
  Types t = types(kPhi3, {}, "q4_k_s", phi3_tensors());
  EXPECT_EQ(layers(t, "attn_qkv.weight", "q5_k"), "0 1 2 3");
  EXPECT_EQ(layers(t, "ffn_down.weight", "q5_k"), "0 1 2 3");
  t = types(kPhi3, {}, "q3_k_m", phi3_tensors());
  EXPECT_EQ(layers(t, "attn_qkv.weight", "q5_k"), "0 1");
  EXPECT_EQ(layers(t, "ffn_down.weight", "q5_k"), "0 1");
  EXPECT_EQ(layers(t, "ffn_down.weight", "q4_k"), kAll.substr(4));
  EXPECT_EQ(layers(t, "ffn_up.weight", "q3_k"), kAll);
  t = types(kPhi3, {}, "q5_k_m", phi3_tensors());
  EXPECT_EQ(layers(t, "attn_qkv.weight", "q6_k"), kMore);
}

TEST(GgufMix, TiedEmbeddingIsTheOutput) {
  EXPECT_EQ(types(kPhi4, {}, "q4_k_m", phi3_tensors(true)).at("token_embd.weight"), "q6_k");
  EXPECT_EQ(types(kPhi4, {}, "q8_0", phi3_tensors(true)).at("token_embd.weight"), "q8_0");
}

TEST(GgufMix, Experts) {
  Types t = types(kMoe, {}, "q4_k_m", moe_tensors());
  EXPECT_EQ(layers(t, "attn_v.weight", "q6_k"), kMore);
  EXPECT_EQ(layers(t, "ffn_down_exps.weight", "q6_k"), kMore);
  EXPECT_EQ(layers(t, "ffn_gate_inp.weight", "f32"), kAll);
  EXPECT_EQ(layers(t, "ffn_gate_exps.weight", "q4_k"), kAll);
  t = types(kMoe, {}, "mxfp4_moe", moe_tensors());
  EXPECT_EQ(layers(t, "ffn_up_exps.weight", "mxfp4"), kAll);
  EXPECT_EQ(layers(t, "attn_q.weight", "q8_0"), kAll);
}

TEST(GgufMix, GroupedQueriesRaiseTheValues) {
  const GgufMixModel grouped{kLayers, 32, 8, 0};
  EXPECT_EQ(layers(types(grouped, {}, "q2_k", phi3_tensors()), "attn_qkv.weight", "q4_k"), kAll);
  EXPECT_EQ(layers(types(kPhi3, {}, "q2_k", phi3_tensors()), "attn_qkv.weight", "q3_k"), kAll);
}

TEST(GgufMix, AnImatrixChangesTheFirstEighth) {
  GgufMixOptions with;
  with.has_imatrix = true;
  EXPECT_EQ(layers(types(kPhi3, with, "q4_0", phi3_tensors()), "ffn_down.weight", "q4_1"),
            "0 1 2 3");
  EXPECT_EQ(layers(types(kPhi3, {}, "q4_0", phi3_tensors()), "ffn_down.weight", "q4_0"), kAll);
  EXPECT_EQ(layers(types(kPhi3, with, "iq4_xs", phi3_tensors()), "ffn_down.weight", "iq4_xs"),
            kAll);
  EXPECT_EQ(layers(types(kPhi3, {}, "iq4_xs", phi3_tensors()), "ffn_down.weight", "q5_k"),
            "0 1 2 3");
}

TEST(GgufMix, RowsThatDoNotDivide) {
  const std::pair<const char*, const char*> fallbacks[] = {
      {"q4_k_s", "q5_0"}, {"q5_k_s", "q5_1"}, {"q6_k", "q8_0"},
      {"q3_k_s", "q4_0"}, {"tq1_0", "q4_0"},  {"iq4_xs", "iq4_nl"}};
  for (const auto& [file_type, wanted] : fallbacks)
    EXPECT_EQ(types(kPhi3, {}, file_type, phi3_tensors(false, 704)).at("blk.9.ffn_down.weight"),
              wanted);
  EXPECT_EQ(types(kPhi3, {}, "q4_k_m", phi3_tensors(false, 1000)).at("blk.9.ffn_down.weight"),
            "f16");
}

TEST(GgufMix, PureAndOverrides) {
  GgufMixOptions o;
  o.pure = true;
  EXPECT_EQ(types(kPhi3, o, "q4_k_m", phi3_tensors()).at("output.weight"), "q4_k");
  o = {};
  o.overrides = {{"blk.0.*", kGgmlQ8_0}, {"*ffn_up*", kGgmlF16}};
  Types t = types(kPhi3, o, "q4_k_m", phi3_tensors());
  EXPECT_EQ(t.at("blk.0.ffn_up.weight"), "q8_0");
  EXPECT_EQ(t.at("blk.1.ffn_up.weight"), "f16");
  EXPECT_EQ(t.at("blk.0.attn_norm.weight"), "f32");
  // Layer 0 is not counted: the rule's first layer is 1.
  EXPECT_EQ(layers(t, "attn_qkv.weight", "q6_k").substr(0, 12), "1 2 3 4 7 10");
  o = {};
  o.token_embedding = kGgmlQ8_0;
  o.output = kGgmlF16;
  t = types(kPhi3, o, "q4_k_m", phi3_tensors());
  EXPECT_EQ(t.at("token_embd.weight"), "q8_0");
  EXPECT_EQ(t.at("output.weight"), "f16");
}

TEST(GgufMix, Errors) {
  GgufMixOptions o;
  o.file_type = find_gguf_file_type("q4_k_m");
  o.overrides = {{"blk.99.*", kGgmlQ8_0}};
  const auto unmatched = choose_gguf_types(kPhi3, o, phi3_tensors());
  ASSERT_FALSE(unmatched);
  EXPECT_EQ(unmatched.error().code, Errc::usage);
  EXPECT_THAT(unmatched.error().message, testing::HasSubstr("blk.99.*=q8_0: matches no tensor"));
  o.overrides = {{"*ffn_down*", kGgmlQ8_0}};
  const auto ragged = choose_gguf_types(kPhi3, o, phi3_tensors(false, 1000));
  ASSERT_FALSE(ragged);
  EXPECT_THAT(ragged.error().message, testing::HasSubstr("rows of 1000 values do not divide"));
}

TEST(GgufMix, OrderIsByBlockThenName) {
  EXPECT_TRUE(gguf_order("token_embd.weight", "blk.0.attn_k.weight"));
  EXPECT_TRUE(gguf_order("blk.2.z", "blk.10.a"));
  EXPECT_TRUE(gguf_order("output.weight", "output_norm.weight"));
  EXPECT_FALSE(gguf_order("blk.1.b", "blk.1.a"));
}

}  // namespace
}  // namespace phiquant
