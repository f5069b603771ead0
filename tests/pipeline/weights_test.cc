// Weights of one model in several formats: which is which, and what compare and inspect make of
// them.
#include <unistd.h>

#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phiquant/phiquant.h"
#include "pipeline/weight_pairs.h"
#include "pipeline/weights.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class Weights : public testing::Test {
 protected:
  Weights() {
    std::string name = (fs::temp_directory_path() / "phiquant_weights_XXXXXX").string();
    dir = ::mkdtemp(name.data());
  }
  ~Weights() override { fs::remove_all(dir); }

  static fs::path checkpoint(const std::string& name) {
    return fs::path(PHIQUANT_TEST_DATA) / "checkpoints" / name;
  }

  // The checkpoint converted with these options, as a folder.
  fs::path converted(const std::string& name, Request options) const {
    options.source.path = checkpoint(name);
    options.output.path = dir / "out";
    options.run.force = true;
    const auto report = quantize(options);
    EXPECT_TRUE(report.has_value()) << report.error().message;
    return options.output.path;
  }
  static CompareReport compared(const fs::path& a, const fs::path& b) {
    auto report = compare(a, b);
    EXPECT_TRUE(report.has_value()) << (report ? "" : report.error().message);
    return report ? std::move(*report) : CompareReport{};
  }
  static Request with(Precision precision, Target target = Target::cpu) {
    Request o;
    o.recipe.precision = precision;
    o.output.onnx.target = target;
    return o;
  }

  fs::path dir;
};

TEST_F(Weights, NamesOfGraphsAndCheckpointsMeanTheSame) {
  const auto key = [](Role role, int32_t layer, int32_t expert = -1, bool bias = false) {
    return std::optional<WeightKey>(WeightKey{role, layer, expert, bias});
  };
  const std::pair<const char*, std::optional<WeightKey>> cases[] = {
      {"model.layers.3.self_attn.qkv_proj.weight", key(Role::attn_qkv, 3)},
      {"model.layers.3.attn.qkv_proj.MatMul.weight", key(Role::attn_qkv, 3)},
      {"model.layers.12.self_attn.dense.bias", key(Role::attn_out, 12, -1, true)},
      {"model.layers.12.attn.o_proj.Add.bias", key(Role::attn_out, 12, -1, true)},
      {"model.layers.0.mlp.fc1.weight", key(Role::mlp_up, 0)},
      {"model.layers.0.mlp.fc1.MatMul.weight", key(Role::mlp_up, 0)},
      {"model.layers.1.block_sparse_moe.experts.7.w3.weight", key(Role::expert_up, 1, 7)},
      {"model.layers.1.moe.experts.7.up_proj.MatMul.weight", key(Role::expert_up, 1, 7)},
      {"model.layers.1.moe.experts.gate_up_proj.weight[7].up", key(Role::expert_up, 1, 7)},
      {"model.norm.weight", key(Role::final_norm, -1)},
      {"model.layers.32.final_norm_layernorm.weight", key(Role::final_norm, -1)},
      {"lm_head.MatMul.weight", key(Role::lm_head, -1)},
      {"cos_cache", key(Role::ignored, -1)},
      {"model.layers.x.attn.qkv_proj.MatMul.weight", std::nullopt},
      {"conv1.weight", std::nullopt},
  };
  for (const auto& [name, want] : cases) EXPECT_EQ(weight_key_of_name(name), want) << name;
}

// Nothing was changed but the type, which holds every bfloat16: each weight, norm and bias of the
// checkpoint has a partner in the graph, and is equal to it.
TEST_F(Weights, AFloatGraphHoldsTheCheckpointExactly) {
  for (const char* name : {"phi3-4k-tiny", "phi4-tiny", "phi2-tiny", "phimoe-tiny"}) {
    const CompareReport report = compared(checkpoint(name), converted(name, with(Precision::fp32)));
    const auto model = open_weights(checkpoint(name));
    ASSERT_TRUE(model.has_value());
    uint64_t n_values = 0, n_compared = 0;
    for (const NamedWeight& w : model->weights) n_values += *element_count(w.shape);
    for (const CompareRow& row : report.rows) n_compared += *element_count(row.shape);
    EXPECT_EQ(n_compared, n_values) << name;
    EXPECT_THAT(report.only_a, IsEmpty()) << name;
    EXPECT_THAT(report.only_b, IsEmpty()) << name;
    for (const CompareRow& row : report.rows)
      EXPECT_TRUE(std::isinf(row.error.sqnr_db)) << name << " " << row.name;
  }
}

TEST_F(Weights, ComparingTellsItsProgressAndStops) {
  const fs::path a = checkpoint("phi2-tiny");
  Progress progress;
  uint64_t last = 0, whole = 0, calls = 0;
  progress.update = [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
    whole = total;
    ++calls;
    return true;
  };
  ASSERT_TRUE(compare(a, a, 1, progress));
  EXPECT_EQ(last, whole);
  EXPECT_GT(calls, 2u);
  const auto model = open_weights(a);
  ASSERT_TRUE(model.has_value());
  uint64_t stored = 0;
  for (const NamedWeight& w : model->weights) stored += w.size_bytes;
  EXPECT_EQ(whole, 2 * stored) << "both sides";

  progress.update = [](uint64_t, uint64_t) { return false; };
  auto stopped = compare(a, a, 1, progress);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Errc::cancelled);
  progress.update = nullptr;
  progress.cancel.request();
  stopped = compare(a, a, 1, progress);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Errc::cancelled);
}

TEST_F(Weights, QuantizedGraphsHaveEveryWeightToo) {
  for (const char* name : {"phi4-tiny", "phi2-tiny", "phimoe-tiny"})
    for (const Target target : {Target::cpu, Target::dml}) {
      const CompareReport report =
          compared(checkpoint(name), converted(name, with(Precision::int4, target)));
      EXPECT_THAT(report.only_a, IsEmpty()) << name;
      EXPECT_THAT(report.only_b, IsEmpty()) << name;
      for (const CompareRow& row : report.rows)
        // 4 bits leave an error of about a 16th of each block's largest value; a weight that was
        // paired with another one, or turned over, has one of the size of its values.
        EXPECT_GT(row.error.sqnr_db, 10) << name << " " << row.name << " " << row.name_b;
    }
}

// dml splits q, k and v, and every graph gate and up: rows of the fused tensors.
TEST_F(Weights, FusedTensorsAreCutToThePartsOfTheOther) {
  const fs::path a = checkpoint("phi4-tiny"),
                 b = converted("phi4-tiny", with(Precision::fp16, Target::dml));
  std::map<std::string, std::string> partner;
  for (const CompareRow& row : compared(a, b).rows) partner[row.name] = row.name_b;
  EXPECT_EQ(partner["model.layers.0.self_attn.qkv_proj.weight[256:384]"],
            "model.layers.0.attn.k_proj.MatMul.weight");
  EXPECT_EQ(partner["model.layers.0.mlp.gate_up_proj.weight[704:1408]"],
            "model.layers.0.mlp.up_proj.MatMul.weight");
  partner.clear();
  for (const CompareRow& row : compared(b, a).rows) partner[row.name] = row.name_b;
  EXPECT_EQ(partner["model.layers.0.attn.v_proj.MatMul.weight"],
            "model.layers.0.self_attn.qkv_proj.weight[384:512]");
}

// phi4-tiny stores one table; the graph may have it as the lm_head, as both, or share its codes.
TEST_F(Weights, OneTableServesForEmbeddingsAndHead) {
  const auto tables = [&](const CompareReport& report) {
    std::vector<std::string> names;
    for (const CompareRow& row : report.rows)
      if (row.name.find("embed") != std::string::npos) names.push_back(row.name_b);
    return names;
  };
  Request o = with(Precision::int4);
  const fs::path a = checkpoint("phi4-tiny");
  EXPECT_THAT(tables(compared(a, converted("phi4-tiny", o))), ElementsAre("lm_head.MatMul.weight"));
  o.recipe.embeddings = TableBits::keep;
  EXPECT_THAT(tables(compared(a, converted("phi4-tiny", o))),
              ElementsAre("model.embed_tokens.weight", "lm_head.MatMul.weight"));
}

TEST_F(Weights, AnotherModelIsRefused) {
  const auto report = compare(checkpoint("phi4-tiny"), checkpoint("phi3-4k-tiny"));
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, Errc::verify);
  EXPECT_THAT(report.error().message, testing::HasSubstr("not the same model"));
}

TEST_F(Weights, InspectTellsWhatACheckpointHolds) {
  const auto report = inspect(checkpoint("phimoe-tiny"));
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->format, "checkpoint");
  EXPECT_THAT(report->properties, Contains(Pair("architecture", "PhiMoEForCausalLM")));
  EXPECT_THAT(report->properties, Contains(Pair("layers", "2")));
  EXPECT_THAT(report->properties, Contains(Pair("experts", "4, 2 for each token")));
  EXPECT_THAT(report->ops, IsEmpty());
  std::map<std::string, std::string> become;
  for (const InspectTensor& t : report->tensors) become[t.name] = t.quantizable;
  EXPECT_EQ(become["model.layers.0.block_sparse_moe.experts.0.w1.weight"], "int4 int8 fp16 fp32");
  EXPECT_EQ(become["model.layers.0.block_sparse_moe.gate.weight"], "fp16 fp32");
  EXPECT_EQ(become["model.layers.0.self_attn.q_proj.bias"], "fp16 fp32");
  EXPECT_EQ(report->tensors.front().location, "model-00001-of-00002.safetensors");
  EXPECT_EQ(report->tensors.back().location, "model-00002-of-00002.safetensors");
}

TEST_F(Weights, MlxFoldersSayHowTheyStoreEachWeight) {
  for (const char* name : {"phi4-tiny", "phimoe-tiny"}) {
    Request o = with(Precision::int4);
    o.output.format = OutputFormat::mlx;
    const fs::path folder = converted(name, o);
    const CompareReport report = compared(checkpoint(name), folder);
    EXPECT_THAT(report.only_a, IsEmpty()) << name;
    EXPECT_THAT(report.only_b, IsEmpty()) << name;
    const auto inspected = inspect(folder);
    ASSERT_TRUE(inspected.has_value()) << inspected.error().message;
    EXPECT_EQ(inspected->format, "mlx");
    uint64_t bytes = 0;
    for (const InspectTensor& t : inspected->tensors) bytes += t.size_bytes;
    // Everything but the header of the safetensors file is weights.
    uint64_t stored = 0;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".safetensors") stored += entry.file_size();
    EXPECT_LT(bytes, stored) << name;
    EXPECT_GT(bytes + 32768, stored) << name;
    for (const CompareRow& row : report.rows)
      if (row.name.find("q_proj.weight") != std::string::npos ||
          row.name.find(".w1.weight") != std::string::npos) {
        EXPECT_EQ(row.dtype_b, "affine4 group 64") << row.name;
      }
  }
}

TEST_F(Weights, InspectKeepsTheGraphOfAGenaiFolder) {
  const auto report = inspect(converted("phi3-4k-tiny", with(Precision::int4)));
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->format, "genai");
  EXPECT_THAT(report->ops, Contains(Pair("com.microsoft.GroupQueryAttention", testing::Gt(0u))));
}

}  // namespace
}  // namespace phiquant
