// What a plan for MLX holds: files, config.json, which modules are quantized and how.
#include "format/plans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include <nlohmann/json.hpp>

#include "format/genai/genai_checkpoint.h"

namespace phiquant::format {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Request mlx_options(Precision precision = Precision::int4) {
  Request o;
  o.output.path = "out";
  o.output.format = OutputFormat::mlx;
  o.recipe.precision = precision;
  o.recipe.block_size = 32;
  return o;
}

Plan planned(const Checkpoint& c, const Request& o, const Evidence& extras = {}) {
  auto plan = plan_mlx(c, o, extras);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? std::move(*plan) : Plan{};
}

std::string refused(const Checkpoint& c, const Request& o) {
  const auto plan = plan_mlx(c, o);
  return plan ? "accepted" : plan.error().message;
}

json file_json(const Plan& plan, const std::string& name) {
  for (const OutFile& file : plan.files)
    if (file.path == name) return json::parse(file.literals.at(0).bytes);
  ADD_FAILURE() << "no " << name;
  return {};
}
json config_of(const Plan& plan) { return file_json(plan, "config.json"); }

const PlanRow& row_of(const Plan& plan, const std::string& tensor) {
  return *std::find_if(plan.rows.begin(), plan.rows.end(),
                       [&](const PlanRow& row) { return row.tensor == tensor; });
}

Checkpoint longrope_checkpoint() {
  Checkpoint c = small_checkpoint();
  c.config_json = R"({"model_type": "phi3", "rope_scaling":
      {"type": "longrope", "short_factor": [1.5, 1], "long_factor": [2, 3]}})";
  return c;
}

TEST(MlxPlan, FilesAreTiledByHeaderAndTensors) {
  const Plan plan = planned(small_checkpoint(), mlx_options());
  ASSERT_EQ(plan.files[0].path, "model.safetensors");
  const std::string& head = plan.files[0].literals.at(0).bytes;
  EXPECT_EQ(head.size() % 8, 0u);
  const json header = json::parse(head.substr(8));
  uint64_t at = head.size();
  for (const OutTensor& t : plan.tensors) {
    EXPECT_EQ(t.offset, at) << t.name;
    EXPECT_EQ(header[t.name]["data_offsets"],
              json({at - head.size(), at - head.size() + t.size_bytes}));
    EXPECT_EQ(header[t.name]["shape"], json(t.shape));
    at += t.size_bytes;
  }
  EXPECT_EQ(at, plan.files[0].size_bytes);
  EXPECT_EQ(header["__metadata__"], json({{"format", "mlx"}}));
  EXPECT_EQ(header["lm_head.weight"]["dtype"], "U32");
  EXPECT_EQ(header["lm_head.scales"]["dtype"], "F32");
  const json index = file_json(plan, "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], at - head.size());
  EXPECT_EQ(index["weight_map"].size(), plan.tensors.size());
}

TEST(MlxPlan, ATensorLargerThanTheLimitHasAFileOfItsOwn) {
  Request o = mlx_options();
  o.output.max_file_size = 1000;
  const Plan plan = planned(small_checkpoint(), o);
  for (const OutTensor& t : plan.tensors) {
    const auto together = [&](const OutTensor& other) { return other.file == t.file; };
    if (t.size_bytes > 1000) {
      EXPECT_EQ(std::count_if(plan.tensors.begin(), plan.tensors.end(), together), 1) << t.name;
    }
  }
  EXPECT_THAT(plan.files[0].path, HasSubstr("model-00001-of-000"));
}

TEST(MlxPlan, DtypeIsTheConfigsOrAsked) {
  Checkpoint c = small_checkpoint();
  c.config_json = R"({"torch_dtype": "bfloat16"})";
  const auto dtype_of = [&](const Plan& plan, const std::string& name) {
    for (const OutTensor& t : plan.tensors)
      if (t.name == name) return t.dtype;
    return DType::undefined;
  };
  EXPECT_EQ(dtype_of(planned(c, mlx_options()), "lm_head.biases"), DType::bf16);
  EXPECT_EQ(dtype_of(planned(c, mlx_options()), "model.norm.weight"), DType::bf16);
  Request o = mlx_options(Precision::fp16);
  o.recipe.block_size.reset();
  EXPECT_EQ(dtype_of(planned(c, o), "lm_head.weight"), DType::f16);
  EXPECT_FALSE(config_of(planned(c, o)).contains("quantization"));
  c.config_json = R"({"torch_dtype": "float8"})";
  EXPECT_EQ(dtype_of(planned(c, mlx_options()), "model.norm.weight"), DType::f32);
}

TEST(MlxPlan, RowsThatDoNotDivideStayFloat) {
  Request o = mlx_options();
  o.recipe.block_size = 64;  // the down projection has rows of 96
  const Plan plan = planned(small_checkpoint(), o);
  EXPECT_EQ(row_of(plan, "mlp_down0").action, "keep");
  EXPECT_EQ(row_of(plan, "mlp_down0").reason, "rows of 96 do not divide by 64");
  EXPECT_EQ(row_of(plan, "attn_out0").action, "affine");
  const json section = config_of(plan)["quantization"];
  EXPECT_EQ(section, json({{"group_size", 64}, {"bits", 4}, {"mode", "affine"}}));
}

TEST(MlxPlan, WeightsWithNanStayFloatAndAreRecorded) {
  Evidence extras;
  extras.non_finite.insert("attn_out1");
  const Plan plan = planned(small_checkpoint(), mlx_options(), extras);
  EXPECT_EQ(row_of(plan, "attn_out1").action, "keep");
  EXPECT_EQ(config_of(plan)["quantization"]["model.layers.1.self_attn.o_proj"], false);
}

TEST(MlxPlan, MixedSchemesFollowTheLayers) {
  Request o = mlx_options();
  o.recipe.scheme = "mixed_3_6";
  const json section = config_of(planned(small_checkpoint(), o))["quantization"];
  // Of two layers the second is in the last eighth: 7 * 2 / 8 is 1.
  EXPECT_EQ(section["model.layers.0.mlp.down_proj"]["bits"], 3);
  EXPECT_EQ(section["model.layers.1.mlp.down_proj"]["bits"], 6);
  EXPECT_EQ(section["model.layers.1.self_attn.qkv_proj"]["bits"], 6);
  EXPECT_EQ(section["model.layers.1.mlp.gate_up_proj"]["bits"], 3);
  EXPECT_EQ(section["lm_head"]["bits"], 6);
  EXPECT_EQ(section["lm_head"]["group_size"], 32);
}

TEST(MlxPlan, TiedTablesAreWrittenAsTheConfigSays) {
  Checkpoint c = small_checkpoint();
  c.weights.erase({Role::lm_head});
  c.decoder.tied_embeddings = true;
  const auto has_head = [](const Plan& plan) {
    return std::any_of(plan.tensors.begin(), plan.tensors.end(),
                       [](const OutTensor& t) { return t.name == "lm_head.weight"; });
  };
  Plan plan = planned(c, mlx_options());
  EXPECT_FALSE(has_head(plan));
  EXPECT_EQ(config_of(plan)["tie_word_embeddings"], true);
  c.config_json = R"({"tie_word_embeddings": false})";
  plan = planned(c, mlx_options());
  EXPECT_TRUE(has_head(plan));
  EXPECT_EQ(config_of(plan)["tie_word_embeddings"], false);
  Request o = mlx_options();
  o.recipe.lm_head = TableBits::int8;
  c.config_json = R"({"tie_word_embeddings": true})";
  EXPECT_EQ(config_of(planned(c, o))["quantization"]["model.embed_tokens"]["bits"], 8);
  o.recipe.embeddings = TableBits::int4;
  EXPECT_THAT(refused(c, o), HasSubstr("are one table in this model"));
}

TEST(MlxPlan, ContextChoosesTheFactors) {
  const Checkpoint c = longrope_checkpoint();
  Request o = mlx_options();
  Plan plan = planned(c, o);
  EXPECT_EQ(config_of(plan)["rope_scaling"]["long_factor"], json({2, 3}));
  ASSERT_EQ(plan.warnings.size(), 1u);
  EXPECT_THAT(plan.warnings[0], HasSubstr("--context 64"));
  o.output.mlx.context = 65;
  plan = planned(c, o);
  EXPECT_EQ(config_of(plan)["rope_scaling"]["long_factor"], json({2, 3}));
  EXPECT_TRUE(plan.warnings.empty());
  o.output.mlx.context = 64;
  EXPECT_EQ(config_of(planned(c, o))["rope_scaling"]["long_factor"], json({1.5, 1}));
  o.output.mlx.context = 257;
  EXPECT_EQ(refused(c, o), "--context 257: the model has a context of 256");
}

TEST(MlxPlan, NewConfigsAreSpreadOut) {
  Checkpoint c = small_checkpoint();
  c.config_json = R"({"model_type": "phi4mm", "vision_lora": {}, "rope_parameters":
      {"rope_type": "longrope", "rope_theta": 5000.0, "partial_rotary_factor": 0.75,
       "original_max_position_embeddings": 64, "short_factor": [1], "long_factor": [2]}})";
  const json config = config_of(planned(c, mlx_options()));
  EXPECT_EQ(config["model_type"], "phi3");
  EXPECT_EQ(config["architectures"], json::array({"Phi3ForCausalLM"}));
  EXPECT_EQ(config["rope_theta"], 5000.0);
  EXPECT_EQ(config["partial_rotary_factor"], 0.75);
  EXPECT_EQ(config["original_max_position_embeddings"], 64);
  EXPECT_EQ(config["rope_scaling"]["type"], "longrope");
  EXPECT_FALSE(config.contains("rope_parameters") || config.contains("vision_lora"));
  EXPECT_EQ(config["eos_token_id"], json({3, 4}));
}

TEST(MlxPlan, Refusals) {
  Checkpoint c = small_checkpoint();
  const auto with = [&](auto change) {
    Request o = mlx_options();
    change(o);
    return refused(c, o);
  };
  EXPECT_EQ(with([](auto& o) { o.recipe.block_size = 16; }),
            "--block-size 16: affine4 has groups of 32, 64 or 128");
  EXPECT_EQ(with([](auto& o) { o.recipe.scheme = "nvfp4"; }),
            "--block-size 32: nvfp4 has groups of 16");
  EXPECT_EQ(with([](auto& o) { o.recipe.scheme = "q4_k"; }),
            "--scheme q4_k: is not one of MLX (see 'phiquant list')");
  EXPECT_EQ(with([](auto& o) { o.recipe.symmetric = true; }),
            "--symmetric and --asymmetric: not for --format mlx (leave it out)");
  EXPECT_EQ(with([](auto& o) { o.recipe.include = {"nothing"}; }),
            "--include 'nothing' matches no node and no weight (phiquant inspect lists the names)");
  EXPECT_EQ(with([](auto& o) { o.output.path = "x.safetensors"; }),
            "x.safetensors: an MLX model is a folder, not one file (give a folder)");
  c.weights[{Role::attn_out, 0, -1, true}] = pattern("bias", {64});
  EXPECT_EQ(refused(c, mlx_options()),
            "small: mlx_lm's class 'phi3' has no bias in 'model.layers.0.self_attn.o_proj', and "
            "the checkpoint has one (it would not load)");
  c = small_checkpoint();
  c.decoder.head_size = 16;
  EXPECT_THAT(refused(c, mlx_options()), HasSubstr("are not the hidden size"));
}

}  // namespace
}  // namespace phiquant::format
