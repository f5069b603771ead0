// Types of tensors, as `llama-quantize --dry-run` b11434 gives them to models of 32 layers.
#include "decide/mix_gguf.h"

#include <algorithm>
#include <map>

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "decide/decide.h"
#include "model/gguf/names.h"

namespace phiquant {
namespace {

struct Tensor {
  std::string name;
  Shape shape;
};

// As the writer makes slots of tensors (format/gguf/weights.cc).
std::vector<Slot> slots_of(const std::vector<Tensor>& tensors) {
  std::vector<Slot> slots;
  for (const Tensor& t : tensors) {
    Slot slot;
    slot.key = gguf_slot_key(t.name);
    const bool is_norm = t.name.find("_norm") != std::string::npos;
    slot.kind = t.shape.size() < 2 || is_norm ? SlotKind::vector : SlotKind::linear;
    slot.tensor = t.name;
    slot.shape = t.shape;
    slot.dtype = DType::bf16;
    if (slot.is(Role::router)) slot.must_stay = "a router";
    slots.push_back(std::move(slot));
  }
  return slots;
}

constexpr uint32_t kLayers = 32;
const GgufMixModel kPhi3{kLayers, 32, 32, 0}, kPhi4{kLayers, 24, 8, 0}, kMoe{kLayers, 32, 8, 16};

std::vector<Tensor> phi3_tensors(bool tied = false, uint64_t ffn = 8192) {
  std::vector<Tensor> all = {{"output_norm.weight", {3072}},
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

std::vector<Tensor> moe_tensors() {
  std::vector<Tensor> all = {{"output.bias", {32064}},
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

Types types(const GgufMixModel& model, Recipe recipe, std::string_view file_type,
            const std::vector<Tensor>& tensors) {
  recipe.scheme = file_type;
  std::vector<Slot> slots = slots_of(tensors);
  std::sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) {
    const int32_t x = a.key ? a.key->layer : -1, y = b.key ? b.key->layer : -1;
    return x != y ? x < y : a.tensor < b.tensor;
  });
  const auto capability = gguf_capability(slots, recipe, model);
  Types out;
  if (!capability) {
    ADD_FAILURE() << capability.error().message;
    return out;
  }
  const auto decisions = decide(slots, recipe, *capability, {});
  for (size_t i = 0; i < slots.size(); ++i)
    out[slots[i].tensor] = find_ggml_type(ggml_type_of(slots[i], decisions->choices[i]))->name;
  return out;
}

Error error_of(const Recipe& recipe, const std::vector<Tensor>& tensors) {
  const std::vector<Slot> slots = slots_of(tensors);
  const auto capability = gguf_capability(slots, recipe, kPhi3);
  EXPECT_FALSE(capability);
  return capability ? Error{} : capability.error();
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
  Recipe with;
  with.imatrix = "any";
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
  Recipe o;
  o.pure = true;
  EXPECT_EQ(types(kPhi3, o, "q4_k_m", phi3_tensors()).at("output.weight"), "q4_k");
  o = {};
  o.tensor_types = {"blk.0.*=q8_0", "*ffn_up*=f16"};
  Types t = types(kPhi3, o, "q4_k_m", phi3_tensors());
  EXPECT_EQ(t.at("blk.0.ffn_up.weight"), "q8_0");
  EXPECT_EQ(t.at("blk.1.ffn_up.weight"), "f16");
  EXPECT_EQ(t.at("blk.0.attn_norm.weight"), "f32");
  // Layer 0 is not counted: the rule's first layer is 1.
  EXPECT_EQ(layers(t, "attn_qkv.weight", "q6_k").substr(0, 12), "1 2 3 4 7 10");
  o = {};
  o.token_embedding_type = "q8_0";
  o.output_tensor_type = "f16";
  t = types(kPhi3, o, "q4_k_m", phi3_tensors());
  EXPECT_EQ(t.at("token_embd.weight"), "q8_0");
  EXPECT_EQ(t.at("output.weight"), "f16");
}

TEST(GgufMix, Errors) {
  Recipe r;
  r.scheme = "q4_k_m";
  r.tensor_types = {"blk.99.*=q8_0"};
  const Error unmatched = error_of(r, phi3_tensors());
  EXPECT_EQ(unmatched.code, Errc::usage);
  EXPECT_THAT(unmatched.message, testing::HasSubstr("blk.99.*=q8_0: matches no tensor"));
  r.tensor_types = {"*ffn_down*=q8_0"};
  EXPECT_THAT(error_of(r, phi3_tensors(false, 1000)).message,
              testing::HasSubstr("rows of 1000 values do not divide"));
}

}  // namespace
}  // namespace phiquant
