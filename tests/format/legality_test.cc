// Which options go together, and what a request's own words imply. What the program says to every
// pair of options stands in tests/cli/cases/combinations.
#include "format/legality.h"

#include <gtest/gtest.h>

#include <string>

namespace phiquant {
namespace {

Request asked(Precision precision) {
  Request r;
  r.source.path = "in";
  r.output.path = "out";
  r.recipe.precision = precision;
  return r;
}

std::string refusal(const Request& r) {
  const auto settled = settle(r);
  if (settled) return "";
  EXPECT_EQ(settled.error().code, Errc::usage);
  return settled.error().message;
}

std::string refusal(const Request& r, Input input, OutputFormat format) {
  const auto legal = check_legality(r, input, format);
  if (legal) return "";
  EXPECT_EQ(legal.error().code, Errc::usage);
  return legal.error().message;
}

TEST(Settle, TheOutputsEndingAndTheSchemeSayTheRest) {
  Request r;
  r.output.path = "m.gguf";
  r.recipe.scheme = "q6_k";
  auto settled = settle(r);
  ASSERT_TRUE(settled) << settled.error().message;
  EXPECT_EQ(settled->output.format, OutputFormat::gguf);
  EXPECT_EQ(settled->recipe.precision, Precision::int8);
  r = {};
  r.output.format = OutputFormat::mlx;
  r.recipe.scheme = "mxfp4";
  settled = settle(r);
  ASSERT_TRUE(settled) << settled.error().message;
  EXPECT_EQ(settled->recipe.precision, Precision::int4);
  // What is settled stays as it is.
  const auto again = settle(*settled);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->recipe.precision, Precision::int4);
}

TEST(Settle, WithoutAPrecisionNothingIsMade) {
  EXPECT_EQ(refusal(asked(Precision::automatic)),
            "--precision: missing (one of int4, int8, fp16, bf16, fp32)");
  Request r = asked(Precision::automatic);
  r.recipe.scheme = "hqq";  // has more than one
  EXPECT_EQ(refusal(r), "--precision: missing (one of int4, int8, fp16, bf16, fp32)");
}

TEST(Settle, OfTwoRefusalsTheFirstOfTheTableIsSaid) {
  Request r = asked(Precision::fp16);
  r.recipe.block_size = 64;
  r.recipe.imatrix = "file";
  EXPECT_EQ(refusal(r), "--imatrix: only for --format gguf (leave it out)");
  r.recipe.imatrix.clear();
  EXPECT_EQ(refusal(r),
            "--block-size: has no meaning with --precision fp16 (it is for int4 and int8; leave it "
            "out)");
}

TEST(Settle, BothSymmetriesContradict) {
  Request r = asked(Precision::int4);
  r.recipe.symmetric = true;
  EXPECT_TRUE(settle(r));
  const auto both = settle(r, true);
  ASSERT_FALSE(both);
  EXPECT_EQ(both.error().message,
            "--symmetric and --asymmetric: contradict each other (leave one out)");
}

TEST(Settle, NamesWhatElseThereIs) {
  Request r = asked(Precision::int8);
  r.recipe.scheme = "hqq";
  EXPECT_EQ(refusal(r).find("--scheme hqq: has no 8-bit form, for MatMulNBits takes float zero "
                            "points with 4 bits only (use matmul_nbits or "),
            0u)
      << refusal(r);
}

TEST(Legality, DependsOnTheInput) {
  Request r = asked(Precision::int4);
  r.recipe.mixed_layers = true;
  EXPECT_EQ(refusal(r), "");
  EXPECT_NE(refusal(r, Input::onnx, OutputFormat::automatic), "");
  EXPECT_EQ(refusal(r, Input::checkpoint, OutputFormat::genai), "");
  EXPECT_NE(refusal(r, Input::checkpoint, OutputFormat::mlx), "");
}

TEST(Legality, KnowsTheSchemeThatAStyleComesTo) {
  Request r = asked(Precision::int8);
  r.output.onnx.style = Style::qdq;
  r.recipe.block_size = 32;
  EXPECT_EQ(refusal(r), "");
  EXPECT_EQ(refusal(r, Input::onnx, OutputFormat::automatic),
            "--block-size has no meaning for --scheme qdq_channel");
}

}  // namespace
}  // namespace phiquant
