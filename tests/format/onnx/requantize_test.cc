// Models that come quantized: what is quantized anew, and what stays.
#include <gmock/gmock.h>

#include "format/onnx/onnx_builder.h"

namespace phiquant::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ToInt8 : public testing::TestWithParam<const char*> {};

TEST_P(ToInt8, BlocksAreQuantizedAnew) {
  const Planned int4 = planned(one_matmul(), options_for(Precision::int4));
  const Planned p = planned(again(int4), with_scheme(Precision::int8, GetParam()));
  ASSERT_EQ(p.plan.rows.size(), 1u);
  EXPECT_EQ(p.plan.rows[0].action, GetParam());
  EXPECT_EQ(initializer(p.model.graph(), "w_quantized"), "int8 [64, 32]");
  ASSERT_EQ(p.plan.jobs.size(), 1u);
  EXPECT_TRUE(
      std::holds_alternative<BlockStorage>(std::get<Int8Job>(p.plan.jobs[0]).source.storage));
  EXPECT_EQ(complaint(p.model), "");
}

INSTANTIATE_TEST_SUITE_P(Schemes, ToInt8, testing::Values("dynamic", "qdq_channel", "qdq_tensor"));

TEST(OnnxRequantize, OneKindToAnother) {
  const Planned channel = planned(one_matmul(), with_scheme(Precision::int8, "qdq_channel"));
  EXPECT_THAT(refused(again(channel), with_scheme(Precision::int8, "qdq_channel")).message,
              HasSubstr("'w_quantized': already 8-bit"));
  EXPECT_THAT(refused(again(channel), options_for(Precision::int8)).message,
              HasSubstr("already 8-bit"));
  EXPECT_EQ(planned(again(channel), with_scheme(Precision::int8, "qdq_tensor")).plan.rows[0].action,
            "qdq_tensor");
  EXPECT_EQ(planned(again(channel), with_scheme(Precision::int8, "dynamic")).plan.rows[0].action,
            "dynamic");
  EXPECT_EQ(planned(again(channel), options_for(Precision::int4)).plan.rows[0].bits, 4u);
}

TEST(OnnxRequantize, SameKindStaysUnderItsSchemeName) {
  const Planned k_quant = planned(one_matmul(), with_scheme(Precision::int4, "k_quant"));
  EXPECT_THAT(refused(again(k_quant), with_scheme(Precision::int4, "k_quant")).message,
              HasSubstr("already 4-bit"));
  Request o = with_scheme(Precision::int4, "k_quant");
  o.recipe.block_size = 64;
  EXPECT_EQ(planned(again(k_quant), o).plan.rows[0].block_size, 64u);
  EXPECT_EQ(
      planned(again(k_quant), with_scheme(Precision::int4, "matmul_nbits")).plan.rows[0].action,
      "matmul_nbits");
}

TEST(OnnxRequantize, LmHeadOfEightBitsStaysUnderInt4) {
  Builder b;
  b.input("x", {2, 64}).output("logits", {2, 32}).weight("w", {64, 64}).weight("head", {64, 32});
  b.node("MatMul", "fc", {"x", "w"}, {"h"});
  b.node("MatMul", "lm", {"h", "head"}, {"l"});
  b.node("Identity", "", {"l"}, {"logits"});
  Builder int8 = again(planned(b, options_for(Precision::int8)));
  Request o = options_for(Precision::int4);
  const Planned p = planned(int8, o);
  EXPECT_THAT(text(p.model.graph().node()),
              ElementsAre("MatMulNBits(x, w_Q4, w_scales_1) -> h",
                          "MatMulNBits(h, head_Q8, head_scales) -> l", "Identity(l) -> logits"));
  EXPECT_EQ(p.plan.jobs.size(), 1u) << "only the other weight is quantized";
  EXPECT_EQ(row(p.plan, "head_Q8")->reason, "already 8-bit");
  EXPECT_EQ(row(p.plan, "head_Q8")->role, "lm_head");
  o.recipe.protect = false;
  EXPECT_EQ(planned(int8, o).plan.rows[1].bits, 4u);
}

// quantize_dynamic's and other tools' weights that a 4-bit request cannot take do not grow to
// floats.
TEST(OnnxRequantize, ConvAndTablesStayQuantized) {
  Builder b;
  b.input("i", {1, 3, 8, 8})
      .output("o", {1, 4, 6, 6})
      .weight("f", {4, 3, 3, 3})
      .node("Conv", "conv", {"i", "f"}, {"o"});
  b.input("ids", {3}, onnx::TensorProto::INT64)
      .output("e", {3, 64})
      .weight("t", {10, 64})
      .node("Gather", "emb", {"t", "ids"}, {"e"});
  b.input("x", {2, 64})
      .output("y", {2, 32})
      .weight("w", {64, 32})
      .node("MatMul", "fc", {"x", "w"}, {"y"});
  Request o = with_scheme(Precision::int8, "qdq_channel");
  o.recipe.embeddings = TableBits::int8;
  const Planned p = planned(again(planned(b, o)), options_for(Precision::int4));
  EXPECT_THAT(row(p.plan, "f_quantized")->reason, HasSubstr("Conv has no 4-bit form"));
  EXPECT_EQ(row(p.plan, "t_quantized")->reason, "embeddings stay as they are");
  EXPECT_EQ(initializer(p.model.graph(), "t_quantized"), "int8 [10, 64]");
  EXPECT_EQ(initializer(p.model.graph(), "w_Q4"), "uint8 [32, 2, 16]");
}

// Cast(int8) * scale, as some exporters store weights.
Builder scaled_codes() {
  Builder b;
  b.input("x", {2, 64})
      .output("y", {2, 32})
      .weight("w_q", {64, 32}, onnx::TensorProto::INT8, 1)
      .weight("s", {1, 32});
  set_int(b.node("Cast", "", {"w_q"}, {"w_f"}), "to", onnx::TensorProto::FLOAT);
  b.node("Mul", "", {"w_f", "s"}, {"w"});
  b.node("MatMul", "fc", {"x", "w"}, {"y"});
  return b;
}

TEST(OnnxRequantize, ScaledCodesAreWeights) {
  EXPECT_THAT(refused(scaled_codes(), options_for(Precision::int8)).message,
              HasSubstr("'w_q': already 8-bit"));
  const Planned p = planned(scaled_codes(), options_for(Precision::int4));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMulNBits(x, w_Q4, w_scales) -> y"));
  const auto& source = std::get<BlockJob>(p.plan.jobs[0]).source;
  const auto& storage = std::get<BlockStorage>(source.storage);
  EXPECT_EQ(source.k, 64u);
  EXPECT_EQ(source.n, 32u);
  EXPECT_EQ(storage.packing, Packing::k_major);
  EXPECT_TRUE(storage.is_signed);
  EXPECT_EQ(storage.block_size, 64u);
  EXPECT_EQ(storage.default_zero_point, 0);
}

TEST(OnnxRequantize, ScalesOfBothAxesAreLeftAlone) {
  Builder b = scaled_codes();
  *b.graph->mutable_initializer(1) = Builder::tensor("s", {64, 32}, onnx::TensorProto::FLOAT, 4);
  EXPECT_EQ(refused(b, options_for(Precision::int4)).code, Errc::unsupported);
}

// ---- Weights with leading 1s ----

Builder leading_one(const std::vector<int64_t>& x) {
  Builder b;
  std::vector<int64_t> y = x;
  y.back() = 32;
  if (y.size() == 2) y.insert(y.begin(), 1);
  b.input("x", x).output("y", y).weight("w", {1, 64, 32}).node("MatMul", "fc", {"x", "w"}, {"y"});
  return b;
}

TEST(OnnxLeadingOnes, CountAsAMatrixWhereTheProductKeepsItsShape) {
  const Planned p = planned(leading_one({3, 2, 64}), options_for(Precision::int4));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMulNBits(x, w_Q4, w_scales) -> y"));
  EXPECT_EQ(initializer(p.model.graph(), "w_Q4"), "uint8 [32, 2, 16]");
  EXPECT_EQ(std::get<BlockJob>(p.plan.jobs[0]).source.k, 64u);
  EXPECT_EQ(complaint(p.model), "");
  for (const char* scheme : {"qdq_channel", "dynamic"}) {
    const Planned q = planned(leading_one({3, 2, 64}), with_scheme(Precision::int8, scheme));
    EXPECT_EQ(initializer(q.model.graph(), "w_quantized"), "int8 [64, 32]");
    EXPECT_EQ(complaint(q.model), "");
  }
}

TEST(OnnxLeadingOnes, StayWhereTheyMakeADimension) {
  EXPECT_THAT(refused(leading_one({2, 64}), options_for(Precision::int4)).message,
              HasSubstr("'w': weight [1, 64, 32] adds a dimension"));
}

}  // namespace
}  // namespace phiquant::test
