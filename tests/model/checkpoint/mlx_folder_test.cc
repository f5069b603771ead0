// MLX folders as checkpoints: what they decode to, and damaged ones, each with its exact words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include <fmt/format.h>

#include "model/tiny_checkpoint.h"

namespace phiquant {
namespace {

using namespace test;

// hidden 64, 2 heads of 32, FFN 32, vocabulary 16, one layer; every matrix in 4 bits, groups of 32.
struct TinyMlx : TinyCheckpoint {
  TinyMlx() {
    tensors.clear();
    config["hidden_size"] = 64;
    config["intermediate_size"] = 32;
    config["quantization"] = {{"group_size", 32}, {"bits", 4}, {"mode", "affine"}};
    config["quantization_config"] = config["quantization"];
    matrix("model.embed_tokens", {16, 64});
    add("model.layers.0.input_layernorm.weight", {64});
    matrix("model.layers.0.self_attn.qkv_proj", {192, 64});
    matrix("model.layers.0.self_attn.o_proj", {64, 64});
    add("model.layers.0.post_attention_layernorm.weight", {64});
    matrix("model.layers.0.mlp.gate_up_proj", {64, 64});
    matrix("model.layers.0.mlp.down_proj", {64, 32});
    add("model.norm.weight", {64});
    matrix("lm_head", {16, 64});
  }
  void matrix(const std::string& path, std::vector<uint64_t> shape) {
    add(path + ".scales", {shape[0], shape[1] / 32});
    add(path + ".biases", {shape[0], shape[1] / 32});
    add(path + ".weight", {shape[0], shape[1] / 8}, "U32");
  }
  // In the mode mxfp4.
  void float_matrix(const std::string& path, std::vector<uint64_t> shape) {
    tensors.erase(path + ".biases");
    add(path + ".scales", {shape[0], shape[1] / 32}, "U8");
  }
};

const std::string kDown = "model.layers.0.mlp.down_proj";
const std::string kDownHere = "F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': ";

std::vector<float> values_of(const SourceTensor& t) {
  std::vector<float> x(t.bytes->size_bytes() / 4);
  EXPECT_TRUE(t.bytes->read(0, std::as_writable_bytes(std::span(x))));
  return x;
}

TEST(MlxFolder, CodesScalesAndBiasesBecomeFloats) {
  TinyMlx mlx;
  TestTensor& codes = mlx.tensors[kDown + ".weight"];
  codes.bytes.assign(codes.bytes.size(), '\0');
  codes.bytes[0] = '\x21';   // row 0: codes 1, 2, 0, ...
  codes.bytes[16] = '\x0f';  // row 1: code 15
  for (const auto& [part, value] : {std::pair(".scales", 0.5f), std::pair(".biases", -3.0f)})
    mlx.tensors[kDown + part] = floats({64, 1}, std::vector<float>(64, value));
  const TemporaryFolder folder;
  mlx.write(folder.path());
  const auto c = open_checkpoint(folder.path());
  ASSERT_TRUE(c) << c.error().message;
  const SourceTensor* down = c->find(Role::mlp_down, 0);
  ASSERT_NE(down, nullptr);
  EXPECT_EQ(down->dtype, DType::f32);
  EXPECT_EQ(down->shape, (Shape{64, 32}));
  const std::vector<float> x = values_of(*down);
  EXPECT_EQ(x[0], -2.5f);
  EXPECT_EQ(x[1], -2.0f);
  EXPECT_EQ(x[2], -3.0f);
  EXPECT_EQ(x[32], 4.5f);
  EXPECT_EQ(c->find(Role::attn_norm, 0)->dtype, DType::f16);
}

TEST(MlxFolder, FloatModesAreRecognizedByTheirScales) {
  TinyMlx mlx;
  mlx.float_matrix(kDown, {64, 32});
  mlx.tensors[kDown + ".weight"].bytes.assign(64 * 16, '\x29');  // codes 9, 2: -0.5, 1
  mlx.tensors[kDown + ".scales"].bytes.assign(64, '\x80');       // 2
  mlx.config["quantization"][kDown] = {{"group_size", nullptr}, {"bits", 4}, {"mode", "mxfp4"}};
  const TemporaryFolder folder;
  mlx.write(folder.path());
  const auto c = open_checkpoint(folder.path());
  ASSERT_TRUE(c) << c.error().message;
  const std::vector<float> x = values_of(*c->find(Role::mlp_down, 0));
  EXPECT_EQ(x[0], -1.0f);
  EXPECT_EQ(x[1], 2.0f);
}

TEST(MlxFolder, ModulesMayBeFloatOrHaveBitsOfTheirOwn) {
  TinyMlx mlx;
  for (const char* part : {".scales", ".biases"}) mlx.tensors.erase(kDown + part);
  mlx.add(kDown + ".weight", {64, 32});
  mlx.config["quantization"][kDown] = false;
  mlx.add("lm_head.weight", {16, 16}, "U32");  // 8 bits
  EXPECT_EQ(outcome(mlx), "accepted");
}

TEST(MlxFolder, MissingParts) {
  TinyMlx mlx;
  mlx.tensors.erase(kDown + ".scales");
  EXPECT_EQ(outcome(mlx), "corrupt: " + kDownHere + "its .scales are missing");
  mlx = {};
  mlx.tensors.erase(kDown + ".biases");
  EXPECT_EQ(outcome(mlx), "corrupt: " + kDownHere + "its .biases are missing");
  mlx = {};
  mlx.tensors.erase(kDown + ".weight");
  EXPECT_EQ(outcome(mlx),
            "corrupt: F: 2 tensors are not of Phi3ForCausalLM as config.json describes it: "
            "'model.layers.0.mlp.down_proj.biases', 'model.layers.0.mlp.down_proj.scales'");
  mlx = {};
  mlx.config.erase("quantization");
  mlx.config.erase("quantization_config");
  EXPECT_EQ(outcome(mlx),
            "corrupt: F/model.safetensors: tensor 'lm_head.weight': shape [16, 8], config.json "
            "wants [16, 64]");
}

TEST(MlxFolder, ShapesThatDoNotFit) {
  TinyMlx mlx;
  mlx.add(kDown + ".weight", {64, 7}, "U32");
  EXPECT_EQ(outcome(mlx), "unsupported: " + kDownHere +
                              "7 bits in groups of 32 (float16 scales) are no mode that is read "
                              "(affine with 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128, "
                              "mxfp4, nvfp4, mxfp8)");
  mlx.add(kDown + ".weight", {64, 33}, "U32");
  EXPECT_EQ(outcome(mlx), "corrupt: " + kDownHere +
                              "shape [64, 33] with scales [64, 1] for rows of 32: no whole number "
                              "of bits and values in a group");
  mlx = {};
  mlx.add(kDown + ".scales", {63, 1});
  EXPECT_EQ(outcome(mlx),
            "corrupt: F/model.safetensors: tensor "
            "'model.layers.0.mlp.down_proj.scales': is float16 [63, 1], wanted "
            "float16 [64, 1]");
  mlx = {};
  mlx.add(kDown + ".biases", {64, 1}, "F32");
  EXPECT_EQ(outcome(mlx),
            "corrupt: F/model.safetensors: tensor "
            "'model.layers.0.mlp.down_proj.biases': is float32 [64, 1], wanted "
            "float16 [64, 1]");
  mlx = {};
  mlx.add(kDown + ".scales", {64, 1}, "I16");
  EXPECT_EQ(outcome(mlx),
            "unsupported: F/model.safetensors: tensor "
            "'model.layers.0.mlp.down_proj.scales': int16 scales are not read");
  mlx = {};
  mlx.add(kDown + ".scales", {64, 1}, "U8");
  EXPECT_EQ(outcome(mlx), "corrupt: " + kDownHere + "has .biases, which its mode has not");
}

TEST(MlxFolder, RanksThatDoNotFit) {
  TinyMlx mlx;
  mlx.add(kDown + ".weight", {64}, "U32");
  EXPECT_EQ(
      outcome(mlx),
      "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': shape [64] with "
      "scales [64, 1] for rows of 32: no whole number of bits and values in a group");
  mlx = {};
  mlx.add(kDown + ".scales", {64});
  EXPECT_EQ(
      outcome(mlx),
      "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': shape [64, 4] "
      "with scales [64] for rows of 32: no whole number of bits and values in a group");
  mlx = {};
  mlx.add(kDown + ".weight", {64, 0}, "U32");
  EXPECT_EQ(
      outcome(mlx),
      "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': shape [64, 0] "
      "with scales [64, 1] for rows of 32: no whole number of bits and values in a group");
  mlx = {};
  mlx.add(kDown + ".scales", {64, 0});
  EXPECT_EQ(
      outcome(mlx),
      "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': shape [64, 4] "
      "with scales [64, 0] for rows of 32: no whole number of bits and values in a group");
  mlx = {};
  mlx.add(kDown + ".weight", {1, 64, 4}, "U32");
  EXPECT_EQ(
      outcome(mlx),
      "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': shape [1, 64, "
      "4] with scales [64, 1] for rows of 32: no whole number of bits and values in a group");
  mlx = {};
  mlx.add(kDown + ".weight", {63, 4}, "U32");  // rows
  mlx.add(kDown + ".scales", {63, 1});
  mlx.add(kDown + ".biases", {63, 1});
  EXPECT_EQ(outcome(mlx),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': shape "
            "[63, 32], config.json wants [64, 32]");
}

TEST(MlxFolder, QuantizedTensorsThatTheArchitectureHasNot) {
  TinyMlx mlx;
  mlx.matrix("model.layers.0.mlp.extra_proj", {64, 32});
  EXPECT_EQ(outcome(mlx),
            "corrupt: F: 3 tensors are not of Phi3ForCausalLM as config.json describes it: "
            "'model.layers.0.mlp.extra_proj.biases', 'model.layers.0.mlp.extra_proj.scales', "
            "'model.layers.0.mlp.extra_proj.weight'");
  mlx = {};
  mlx.add("model.norm.scales", {64});
  EXPECT_EQ(outcome(mlx),
            "corrupt: F: 1 tensor is not of Phi3ForCausalLM as config.json describes it: "
            "'model.norm.scales'");
  mlx = {};
  mlx.add("model.norm.weight", {8}, "U32");
  EXPECT_EQ(outcome(mlx),
            "corrupt: F/model.safetensors: tensor 'model.norm.weight': its .scales are missing");
}

TEST(MlxFolder, ConfigOutOfRange) {
  const auto all = [](const char* key, json value) {
    TinyMlx mlx;
    mlx.config["quantization"][key] = std::move(value);
    return outcome(mlx);
  };
  EXPECT_EQ(all("group_size", 0),
            "corrupt: F/config.json: quantization: 'group_size' is 0, wanted a whole number from 1 "
            "to 65536");
  EXPECT_EQ(all("group_size", -32),
            "corrupt: F/config.json: quantization: 'group_size' is -32, wanted a whole number from "
            "1 to 65536");
  EXPECT_EQ(all("group_size", 65537),
            "corrupt: F/config.json: quantization: 'group_size' is 65537, wanted a whole number "
            "from 1 to 65536");
  EXPECT_EQ(all("group_size", "64"),
            "corrupt: F/config.json: quantization: 'group_size' is \"64\", wanted a whole number "
            "from 1 to 65536");
  EXPECT_EQ(
      all("bits", 0),
      "corrupt: F/config.json: quantization: 'bits' is 0, wanted a whole number from 1 to 64");
  EXPECT_EQ(
      all("bits", 65),
      "corrupt: F/config.json: quantization: 'bits' is 65, wanted a whole number from 1 to 64");
  EXPECT_EQ(
      all("bits", 4.0),
      "corrupt: F/config.json: quantization: 'bits' is 4.0, wanted a whole number from 1 to 64");
  EXPECT_EQ(all("bits", nullptr), "corrupt: F/config.json: quantization: 'bits' is missing");
  EXPECT_EQ(all("mode", 4), "corrupt: F/config.json: quantization: 'mode' is 4, wanted a text");
  const auto own = [](json value) {
    TinyMlx mlx;
    mlx.config["quantization"][kDown] = std::move(value);
    return outcome(mlx);
  };
  EXPECT_EQ(own({{"group_size", 0}, {"bits", 4}}),
            "corrupt: F/config.json: quantization: model.layers.0.mlp.down_proj: 'group_size' is "
            "0, wanted a whole number from 1 to 65536");
  EXPECT_EQ(own({{"group_size", 32}, {"bits", 7}}),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': is affine "
            "with 4 bits in groups of 32, config.json says affine with 7 bits in groups of 32");
  EXPECT_EQ(own({{"group_size", 64}, {"bits", 4}}),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': is affine "
            "with 4 bits in groups of 32, config.json says affine with 4 bits in groups of 64");
  EXPECT_EQ(own({{"group_size", 32}, {"bits", 4}, {"mode", "mxfp4"}}),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': is affine "
            "with 4 bits in groups of 32, config.json says mxfp4 with 4 bits in groups of 32");
  EXPECT_EQ(own({{"mode", "q4\n"}}),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.weight': is affine "
            "with 4 bits in groups of 32, config.json says q4\\x0a with 4 bits in groups of 32");
}

// Its shards are a checkpoint's: one tensor in two of them, names that leave the folder.
TEST(MlxFolder, Shards) {
  const auto with = [](const char* place) {
    const TemporaryFolder folder;
    const TinyMlx mlx;
    mlx.write_sidecars(folder.path());
    json places;
    TestTensors one, two;
    for (const auto& [name, tensor] : mlx.tensors) {
      const bool first = name.find(".layers.") == std::string::npos;
      (first ? one : two)[name] = tensor;
      places[name] =
          first ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
    }
    two[kDown + ".scales"] = mlx.tensors.at(kDown + ".scales");
    if (!*place) one[kDown + ".scales"] = two[kDown + ".scales"];
    if (*place) places[kDown + ".scales"] = place;
    write_file(folder.path() / "model-00001-of-00002.safetensors", safetensors_file(one));
    write_file(folder.path() / "model-00002-of-00002.safetensors", safetensors_file(two));
    write_file(folder.path() / "model.safetensors.index.json", json{{"weight_map", places}}.dump());
    return outcome(folder.path());
  };
  EXPECT_EQ(with("model-00002-of-00002.safetensors"), "accepted");
  EXPECT_EQ(
      with(""),
      "corrupt: F/model-00002-of-00002.safetensors: tensor 'model.layers.0.mlp.down_proj.scales': "
      "is in shard 'model-00001-of-00002.safetensors' too");
  EXPECT_EQ(with("../model-00002-of-00002.safetensors"),
            "corrupt: F/model.safetensors.index.json: shard '../model-00002-of-00002.safetensors' "
            "is not inside the checkpoint's folder");
  EXPECT_EQ(with("model-00003-of-00002.safetensors"),
            "io: F/model.safetensors.index.json: shard 'model-00003-of-00002.safetensors' is "
            "missing (incomplete download?)");
}

TEST(MlxFolder, ConfigThatContradicts) {
  TinyMlx mlx;
  mlx.config["quantization"][kDown] = {{"group_size", 32}, {"bits", 8}};
  EXPECT_EQ(outcome(mlx), "corrupt: " + kDownHere +
                              "is affine with 4 bits in groups of 32, config.json says affine with "
                              "8 bits in groups of 32");
  mlx.config["quantization"][kDown] = 4;
  EXPECT_EQ(outcome(mlx),
            "corrupt: F/config.json: quantization: "
            "'model.layers.0.mlp.down_proj' is 4, wanted an object");
  mlx.config["quantization"] = 4;
  EXPECT_EQ(outcome(mlx), "corrupt: F/config.json: 'quantization' is 4, wanted an object");
  mlx.config["quantization"] = json::object();
  EXPECT_EQ(outcome(mlx), "corrupt: F/config.json: quantization: 'bits' is missing");
  mlx = {};
  mlx.config.erase("quantization");
  mlx.config["quantization_config"] = {{"quant_method", "awq"}};
  EXPECT_EQ(outcome(mlx),
            "unsupported: F/config.json: the weights are already quantized ('awq'): take the "
            "checkpoint that they were made from");
}

TEST(MlxFolder, AnIndexBesideOneFileIsNoContradiction) {
  const TemporaryFolder folder;
  const TinyMlx mlx;
  mlx.write(folder.path());
  json places;
  for (const auto& [name, tensor] : mlx.tensors) places[name] = "model.safetensors";
  write_file(folder.path() / "model.safetensors.index.json",
             json{{"metadata", json::object()}, {"weight_map", places}}.dump());
  const auto c = open_checkpoint(folder.path());
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_THAT(c->warnings, testing::IsEmpty());
}

}  // namespace
}  // namespace phiquant
