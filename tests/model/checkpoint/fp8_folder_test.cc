// Checkpoints with 8-bit floats: what they decode to, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/float8.h"
#include "model/tiny_checkpoint.h"

namespace phiquant {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::IsEmpty;

const std::string kOut = "model.layers.0.self_attn.o_proj";  // [8, 8]
const std::string kDown = "model.layers.0.mlp.down_proj";    // [8, 6]

// The value of the format's definition: sign, exponent and mantissa.
double value_of(unsigned code, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const double mantissa =
      std::ldexp(static_cast<double>(code & ((1u << mantissa_bits) - 1)), -mantissa_bits);
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, 1 - bias) : std::ldexp(1 + mantissa, exponent - bias);
  return code & 0x80 ? -magnitude : magnitude;
}

TEST(Float8, EveryCode) {
  for (unsigned i = 0; i < 256; ++i) {
    const float e4m3 = f32_from_f8e4m3(static_cast<uint8_t>(i)),
                e5m2 = f32_from_f8e5m2(static_cast<uint8_t>(i));
    if ((i & 0x7f) == 0x7f)
      EXPECT_TRUE(std::isnan(e4m3)) << i;
    else
      EXPECT_EQ(static_cast<double>(e4m3), value_of(i, 4, 3)) << i;
    if ((i & 0x7f) == 0x7c)
      EXPECT_EQ(std::abs(e5m2), std::numeric_limits<float>::infinity()) << i;
    else if ((i & 0x7f) > 0x7c)
      EXPECT_TRUE(std::isnan(e5m2)) << i;
    else
      EXPECT_EQ(static_cast<double>(e5m2), value_of(i, 5, 2)) << i;
    EXPECT_EQ(std::signbit(e4m3), i >= 0x80) << i;
  }
  EXPECT_EQ(f32_from_f8e4m3(0x7e), 448.0f);
  EXPECT_EQ(f32_from_f8e5m2(0x7b), 57344.0f);
}

TestTensor codes(std::vector<uint64_t> shape, const std::string& dtype = "F8_E4M3") {
  TestTensor t = tensor("", std::move(shape), dtype);
  for (size_t i = 0; i < t.bytes.size(); ++i) t.bytes[i] = static_cast<char>(i * 5 % 120);
  return t;
}

TinyCheckpoint fp8(const TestTensor& scale, const std::string& suffix = ".weight_scale") {
  TinyCheckpoint tiny;
  tiny.config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                        {"format", "float-quantized"}};
  tiny.tensors[kOut + ".weight"] = codes({8, 8});
  tiny.tensors[kOut + suffix] = scale;
  return tiny;
}

// Values of the output projection, read as a whole and in odd pieces.
std::vector<float> values(const TinyCheckpoint& tiny, Role role = Role::attn_out) {
  const TemporaryFolder folder;
  tiny.write(folder.path());
  const auto c = open_checkpoint(folder.path(), {});
  EXPECT_TRUE(c) << (c ? "" : c.error().message);
  if (!c) return {};
  const SourceTensor* t = c->find(role, 0);
  EXPECT_EQ(t->dtype, DType::f32);
  std::vector<float> whole(t->bytes->size_bytes() / sizeof(float)), pieces(whole.size());
  EXPECT_TRUE(t->bytes->read(0, std::as_writable_bytes(std::span(whole))));
  const auto out = std::as_writable_bytes(std::span(pieces));
  for (size_t at = 0; at < out.size(); at += 7)
    EXPECT_TRUE(t->bytes->read(at, out.subspan(at, std::min<size_t>(7, out.size() - at))));
  EXPECT_EQ(whole, pieces);
  return whole;
}

// `factor(row, column)` times the codes of codes().
template <class Factor>
std::vector<float> expected(size_t rows, size_t columns, Factor factor) {
  std::vector<float> out;
  for (size_t i = 0; i < rows * columns; ++i)
    out.push_back(f32_from_f8e4m3(static_cast<uint8_t>(i * 5 % 120)) *
                  factor(i / columns, i % columns));
  return out;
}

TEST(Fp8Folder, OneScale) {
  const auto wanted = expected(8, 8, [](size_t, size_t) { return 0.3f; });
  EXPECT_EQ(values(fp8(floats({}, {0.3f}))), wanted);
  EXPECT_EQ(values(fp8(floats({1}, {0.3f}))), wanted);
  EXPECT_EQ(values(fp8(floats({1, 1}, {0.3f}))), wanted);
}

TEST(Fp8Folder, AScaleForEachRow) {
  const std::vector<float> rows = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f};
  const auto wanted = expected(8, 8, [&](size_t r, size_t) { return rows[r]; });
  EXPECT_EQ(values(fp8(floats({8, 1}, rows))), wanted);
  EXPECT_EQ(values(fp8(floats({8}, rows))), wanted);
}

TEST(Fp8Folder, AScaleForEachBlock) {
  TinyCheckpoint tiny = fp8(floats({3, 2}, {1, 2, 3, 4, 5, 6}), ".weight_scale_inv");
  tiny.config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {3, 5}}};
  EXPECT_EQ(values(tiny), expected(8, 8, [](size_t r, size_t c) {
              return static_cast<float>(r / 3 * 2 + c / 5 + 1);
            }));
  tiny.config["quantization_config"].erase("weight_block_size");  // 128 x 128
  tiny.tensors[kOut + ".weight_scale_inv"] = floats({1, 1}, {0.5f});
  EXPECT_EQ(values(tiny), expected(8, 8, [](size_t, size_t) { return 0.5f; }));
}

TEST(Fp8Folder, ScalesInHalves) {
  TestTensor scale{"BF16", {1}, std::string("\xc0\x3f", 2)};  // 1.5
  EXPECT_EQ(values(fp8(scale)), expected(8, 8, [](size_t, size_t) { return 1.5f; }));
}

TEST(Fp8Folder, NoScalesAndNoWordInTheConfig) {
  TinyCheckpoint tiny;
  tiny.tensors[kDown + ".weight"] = codes({8, 6});
  EXPECT_EQ(values(tiny, Role::mlp_down), expected(8, 6, [](size_t, size_t) { return 1.0f; }));
  tiny.tensors[kDown + ".weight"] = codes({8, 6}, "F8_E5M2");
  const std::vector<float> got = values(tiny, Role::mlp_down);
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_EQ(got[i], f32_from_f8e5m2(static_cast<uint8_t>(i * 5 % 120)));
}

TEST(Fp8Folder, ScalesOfActivationsAreNamed) {
  TinyCheckpoint tiny = fp8(floats({1}, {1}));
  tiny.tensors[kOut + ".input_scale"] = floats({1}, {1});
  tiny.tensors["model.layers.0.self_attn.k_scale"] = floats({1}, {1});
  const TemporaryFolder folder;
  tiny.write(folder.path());
  const auto c = open_checkpoint(folder.path(), {});
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_THAT(c->left_out, ElementsAre("model.layers.0.self_attn.k_scale", kOut + ".input_scale"));
}

TEST(Fp8Folder, OtherMethodsThatCarryThem) {
  TinyCheckpoint tiny = fp8(floats({1}, {1}));
  for (const json& config : {json{{"quant_method", "fp8"}}, json{{"quant_method", "fbgemm_fp8"}},
                             json{{"quant_method", "modelopt"}, {"quant_algo", "FP8"}}}) {
    tiny.config["quantization_config"] = config;
    EXPECT_EQ(outcome(tiny), "accepted") << config;
  }
  for (const json& config :
       {json{{"quant_method", "modelopt"}, {"quant_algo", "NVFP4"}},
        json{{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}}}) {
    tiny.config["quantization_config"] = config;
    EXPECT_THAT(outcome(tiny), testing::StartsWith("unsupported: F/config.json: the weights are "
                                                   "already quantized ("))
        << config;
  }
}

TEST(Fp8Folder, RefusesScalesThatDoNotFit) {
  const std::string scale = "F/model.safetensors: tensor '" + kOut + ".weight_scale': ";
  EXPECT_EQ(outcome(fp8(floats({4}, {1, 2, 3, 4}))),
            "corrupt: " + scale +
                "shape [4], wanted one factor, one for each row, or one for each 128 x 128 of "
                "[8, 8]");
  EXPECT_EQ(outcome(fp8(floats({0}, {}))),
            "corrupt: " + scale +
                "shape [0], wanted one factor, one for each row, or one for each 128 x 128 of "
                "[8, 8]");
  EXPECT_EQ(
      outcome(fp8(codes({1}, "I8"))),
      "unsupported: " + scale + "int8 scales are not read, wanted float32, float16 or bfloat16");
  TinyCheckpoint both = fp8(floats({1}, {1}));
  both.tensors[kOut + ".weight_scale_inv"] = floats({1}, {1});
  EXPECT_EQ(outcome(both), "corrupt: F/model.safetensors: tensor '" + kOut +
                               ".weight': has both .weight_scale and .weight_scale_inv");
  // A scale whose weight is no 8-bit float is a tensor like any other.
  TinyCheckpoint alone;
  alone.tensors[kOut + ".weight_scale"] = floats({1}, {1});
  EXPECT_THAT(outcome(alone), testing::HasSubstr(kOut + ".weight_scale"));
}

TEST(Fp8Folder, RefusesBlocksThatAreNone) {
  TinyCheckpoint tiny = fp8(floats({1}, {1}));
  for (const json& size :
       {json{128}, json{0, 128}, json{128, 1 << 21}, json{-1, 128}, json("128")}) {
    tiny.config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", size}};
    EXPECT_EQ(outcome(tiny),
              "corrupt: F/config.json: quantization_config: 'weight_block_size' is " + size.dump() +
                  ", wanted two sizes of 1 to 1048576");
  }
  tiny.config["quantization_config"] = {{"quant_method", 8}};
  EXPECT_EQ(outcome(tiny),
            "corrupt: F/config.json: quantization_config: 'quant_method' is 8, wanted a text");
}

}  // namespace
}  // namespace phiquant
