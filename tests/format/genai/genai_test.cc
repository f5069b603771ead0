#include "format/plans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include "format/decoder/onnx_parts.h"
#include "format/genai/config.h"
#include "format/genai/genai_checkpoint.h"
#include "format/genai/targets.h"

namespace phiquant::format {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

const PlanRow* row_of(const Plan& plan, const std::string& tensor) {
  const auto it = std::find_if(plan.rows.begin(), plan.rows.end(),
                               [&](const PlanRow& r) { return r.tensor == tensor; });
  return it == plan.rows.end() ? nullptr : &*it;
}

const OutTensor* tensor_of(const Plan& plan, const std::string& name) {
  const auto it = std::find_if(plan.tensors.begin(), plan.tensors.end(),
                               [&](const OutTensor& t) { return t.name == name; });
  return it == plan.tensors.end() ? nullptr : &*it;
}

TEST(Targets, EveryPairIsLegalOrNamesTheLegalOnes) {
  EXPECT_TRUE(runs(target_info(Target::cpu), Precision::int4));
  EXPECT_TRUE(runs(target_info(Target::cuda), Precision::bf16));
  EXPECT_FALSE(runs(target_info(Target::cpu), Precision::fp16));
  const auto refused = plan_genai(small_checkpoint(), request(Precision::fp16));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::usage);
  EXPECT_THAT(refused.error().message, HasSubstr("cpu: int4, int8, fp32; cuda:"));
  for (size_t i = 0; i < targets().size(); ++i)
    EXPECT_EQ(static_cast<size_t>(targets()[i].target), i);
}

TEST(GenAi, SplitsGateAndUpAndQuantizesEveryLinear) {
  const auto plan = plan_checkpoint(small_checkpoint(), request(Precision::int4));
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  const OutTensor* gate = tensor_of(*plan, "model.layers.1.mlp.gate_proj.MatMul.weight_Q4");
  ASSERT_NE(gate, nullptr);
  EXPECT_EQ(gate->shape, (Shape{96, 2, 16}));
  const OutTensor* qkv = tensor_of(*plan, "model.layers.0.attn.qkv_proj.MatMul.weight_Q4");
  ASSERT_NE(qkv, nullptr);
  EXPECT_EQ(qkv->shape, (Shape{192, 2, 16}));
  EXPECT_EQ(row_of(*plan, "lm_head.MatMul.weight")->bits, 8u);
  EXPECT_THAT(row_of(*plan, "lm_head.MatMul.weight")->reason, HasSubstr("--no-protect"));
  EXPECT_EQ(row_of(*plan, "model.layers.0.mlp.down_proj.MatMul.weight")->bits, 4u);
}

TEST(GenAi, NothingLeftToQuantizeIsRefused) {
  Request o = request(Precision::int4);
  o.recipe.exclude = {"*"};
  const auto plan = plan_checkpoint(small_checkpoint(), o);
  ASSERT_FALSE(plan.has_value());
  EXPECT_EQ(plan.error().code, Errc::unsupported);
  EXPECT_THAT(plan.error().message,
              HasSubstr("small: nothing to quantize: 'model.embed_tokens.weight': excluded"));
}

TEST(GenAi, TheBuildersRecipeIsUniform) {
  Request o = request(Precision::int4);
  o.recipe.defaults = Defaults::builder;
  const auto plan = plan_checkpoint(small_checkpoint(), o);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(row_of(*plan, "lm_head.MatMul.weight")->bits, 4u);
}

TEST(GenAi, MixedLayersAreTheFirstAndLastEighthAndEveryThird) {
  Checkpoint c = small_checkpoint();
  c.decoder.n_layers = 16;
  for (int32_t i = 2; i < 16; ++i)
    for (const auto role :
         {phiquant::Role::attn_norm, phiquant::Role::attn_qkv, phiquant::Role::attn_out,
          phiquant::Role::mlp_norm, phiquant::Role::mlp_gate_up, phiquant::Role::mlp_down})
      c.weights[{role, i, -1, false}] = *c.find(role, 0);
  Request o = request(Precision::int4);
  o.recipe.defaults = Defaults::builder;
  o.recipe.mixed_layers = true;
  const auto plan = plan_checkpoint(c, o);
  ASSERT_TRUE(plan.has_value());
  std::set<int> lifted;
  for (int i = 0; i < 16; ++i)
    if (row_of(*plan, "model.layers." + std::to_string(i) + ".mlp.down_proj.MatMul.weight")->bits ==
        8)
      lifted.insert(i);
  EXPECT_EQ(lifted, (std::set<int>{0, 1, 4, 7, 10, 13, 14, 15}));  // n / 8 = 2; (i - 2) % 3 == 2
}

TEST(GenAi, TiedEmbeddingsReadTheCodesOfTheHead) {
  Checkpoint c = small_checkpoint();
  c.decoder.tied_embeddings = true;
  c.weights.erase({phiquant::Role::lm_head, -1, -1, false});
  const auto plan = plan_checkpoint(c, request(Precision::int4));
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_NE(tensor_of(*plan, "lm_head.MatMul.weight_Q8"), nullptr);
  EXPECT_EQ(tensor_of(*plan, "lm_head.MatMul.weight"), nullptr);
  EXPECT_EQ(tensor_of(*plan, "model.embed_tokens.weight"), nullptr);
  EXPECT_EQ(row_of(*plan, "model.layers.0.mlp.down_proj.MatMul.weight")->bits, 8u);
  // Excluded from quantization, both read one float table.
  Request o = request(Precision::int4);
  o.recipe.exclude = {"/lm_head/MatMul"};
  const auto kept = plan_checkpoint(c, o);
  ASSERT_TRUE(kept.has_value());
  EXPECT_NE(tensor_of(*kept, "lm_head.MatMul.weight"), nullptr);
  EXPECT_EQ(tensor_of(*kept, "model.embed_tokens.weight"), nullptr);
}

TEST(GenAi, ProvidersWithoutPackedInputsGetThreeProjections) {
  const auto plan = plan_checkpoint(small_checkpoint(), request(Precision::int4, Target::dml));
  ASSERT_TRUE(plan.has_value());
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    const OutTensor* scales =
        tensor_of(*plan, std::string("model.layers.0.attn.") + name + ".MatMul.weight_scales");
    ASSERT_NE(scales, nullptr) << name;
    EXPECT_EQ(scales->dtype, DType::f16);
  }
  EXPECT_EQ(tensor_of(*plan, "cos_cache")->shape, (Shape{64 + 256, 16}));
}

TEST(GenAi, RefusesWhatItCannotMakeBeforeAnyWork) {
  Request o = request(Precision::int4);
  o.output.path = "out.onnx";
  EXPECT_EQ(plan_checkpoint(small_checkpoint(), o).error().code, Errc::usage);
  o = request(Precision::int8);
  o.recipe.mixed_layers = true;
  EXPECT_EQ(plan_checkpoint(small_checkpoint(), o).error().code, Errc::usage);
  Checkpoint c = small_checkpoint();
  c.weights.erase({phiquant::Role::mlp_down, 1, -1, false});
  const auto missing = plan_checkpoint(c, request(Precision::fp32));
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, Errc::unsupported);
  EXPECT_THAT(missing.error().message, HasSubstr("layer 1 has no mlp_down weight"));
}

TEST(GenAi, RopeTablesAreTheFormula) {
  const Checkpoint c = small_checkpoint();
  const SourceTensor table =
      rope_table(c.decoder.rope, *c.decoder.rope.long_branch, 256, true, "t");
  std::vector<float> values(256 * 16);
  ASSERT_TRUE(table.bytes->read(0, std::as_writable_bytes(std::span(values))).has_value());
  EXPECT_EQ(values[0], 1.25f);
  for (const auto& [position, i] : std::vector<std::pair<int, int>>{{1, 0}, {100, 3}, {255, 15}}) {
    const double angle = position / (2 * std::pow(10000.0, 2.0 * i / 32));
    // The angle is a float product: off by two roundings of itself, the cosine by one, the factor
    // by one.
    EXPECT_NEAR(values[static_cast<size_t>(position * 16 + i)], 1.25 * std::cos(angle),
                (angle * 3 + 2.5) * 0x1p-24)
        << position << " " << i;
  }
}

TEST(GenAi, ConfigTakesIdsAndSearchFromTheFilesAndTheTokenizer) {
  Checkpoint c = small_checkpoint();
  c.tokens.tokenizer_eos = 9;
  c.tokens.tags = {{"<|tool_call|>", 11}};
  const auto text = genai_config(c, target_info(Target::cuda), true);
  ASSERT_TRUE(text.has_value());
  const auto config = nlohmann::json::parse(*text);
  EXPECT_EQ(config["model"]["eos_token_id"], (nlohmann::json{9, 3, 4}));
  EXPECT_EQ(config["model"]["bos_token_id"], 1);
  EXPECT_EQ(config["model"]["pad_token_id"], 3);
  EXPECT_EQ(config["model"]["bot_token_id"], 11);
  EXPECT_EQ(config["model"]["type"], "phi3");
  EXPECT_EQ(config["search"]["temperature"], 0.5);
  EXPECT_EQ(config["search"]["max_length"], 256);
  EXPECT_EQ(config["model"]["decoder"]["session_options"]["provider_options"][0]["cuda"]
                  ["enable_cuda_graph"],
            "0");
  c.tokens.tokenizer_eos = 4;
  EXPECT_EQ(nlohmann::json::parse(
                *genai_config(c, target_info(Target::cpu), true))["model"]["eos_token_id"],
            (nlohmann::json{3, 4}));
}

}  // namespace
}  // namespace phiquant::format
