// Standard DequantizeLinear, quantize_dynamic's graph, and the way back to floats.
#include <gmock/gmock.h>

#include "format/onnx/onnx_builder.h"
#include "format/onnx/weights.h"

namespace phiquant::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(OnnxQdq, Int4BlocksAsThePeerNamesThem) {
  const Planned p = planned(one_matmul(), with_scheme(Precision::int4, "qdq"));
  EXPECT_THAT(text(p.model.graph().node()),
              ElementsAre("DequantizeLinear(w_DQ_Q4, w_DQ_scales) -> w_DQ_Q4_output",
                          "MatMul(x, w_DQ_Q4_output) -> y"));
  EXPECT_EQ(p.model.graph().node(0).name(), "fc_DQ_Q4");
  EXPECT_EQ(p.model.graph().node(1).name(), "fc_matmul_Q4");
  EXPECT_EQ(ints(p.model.graph().node(0)), "axis=0 block_size=32");
  EXPECT_EQ(initializer(p.model.graph(), "w_DQ_Q4"), "int4 [64, 32]");
  EXPECT_EQ(initializer(p.model.graph(), "w_DQ_scales"), "float32 [2, 32]");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxQdq, OpsetAndIrVersionAreRaisedOnlyWhereNeeded) {
  const Planned p = planned(one_matmul(13, 7), with_scheme(Precision::int4, "qdq"));
  EXPECT_EQ(p.model.opset_import(0).version(), 21);
  EXPECT_EQ(p.model.ir_version(), 10);
  EXPECT_EQ(complaint(p.model), "");
  const Planned same = planned(one_matmul(13, 7), with_scheme(Precision::int8, "qdq_channel"));
  EXPECT_EQ(same.model.opset_import(0).version(), 13);
  EXPECT_EQ(same.model.ir_version(), 7);
}

TEST(OnnxQdq, AxesBecomeInputsWhenTheOpsetIsRaised) {
  Builder b = one_matmul(11, 6);
  b.output("s", {64});
  auto* squeeze = b.node("Squeeze", "sq", {"u"}, {"s"});
  set_ints(squeeze, "axes", {0});
  b.input("u", {1, 64});
  const Planned p = planned(b, with_scheme(Precision::int8, "qdq_channel"));
  EXPECT_EQ(p.model.opset_import(0).version(), 13);
  EXPECT_EQ(text(p.model.graph().node(2)), "Squeeze(u, sq_axes) -> s");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxQdq, ChannelsOfMatMulGemmAndConv) {
  Builder b;
  b.input("x", {2, 64})
      .output("y", {2, 32})
      .weight("w", {64, 32})
      .node("MatMul", "fc", {"x", "w"}, {"y"});
  b.output("z", {2, 16}).weight("v", {16, 64});
  set_int(b.node("Gemm", "gemm", {"x", "v"}, {"z"}), "transB", 1);
  b.input("i", {1, 3, 8, 8})
      .output("o", {1, 4, 6, 6})
      .weight("f", {4, 3, 3, 3})
      .node("Conv", "conv", {"i", "f"}, {"o"});
  const Planned p = planned(b, with_scheme(Precision::int8, "qdq_channel"));
  const auto& nodes = p.model.graph().node();
  EXPECT_THAT(
      text(nodes),
      ElementsAre(
          "DequantizeLinear(w_quantized, w_scale, w_zero_point) -> w_DequantizeLinear_Output",
          "MatMul(x, w_DequantizeLinear_Output) -> y",
          "DequantizeLinear(v_quantized, v_scale, v_zero_point) -> v_DequantizeLinear_Output",
          "Gemm(x, v_DequantizeLinear_Output) -> z",
          "DequantizeLinear(f_quantized, f_scale, f_zero_point) -> f_DequantizeLinear_Output",
          "Conv(i, f_DequantizeLinear_Output) -> o"));
  EXPECT_EQ(ints(nodes[0]), "axis=1");
  EXPECT_EQ(ints(nodes[2]), "axis=0");
  EXPECT_EQ(ints(nodes[3]), "transB=1");
  EXPECT_EQ(ints(nodes[4]), "axis=0");
  EXPECT_EQ(initializer(p.model.graph(), "f_quantized"), "int8 [4, 3, 3, 3]");
  EXPECT_EQ(initializer(p.model.graph(), "f_scale"), "float32 [4]");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxQdq, GemmTransBIsTurnedForBlocks) {
  Builder b;
  b.input("x", {2, 64}).output("z", {2, 16}).weight("v", {16, 64});
  set_int(b.node("Gemm", "gemm", {"x", "v"}, {"z"}), "transB", 1);
  const Planned p = planned(b, with_scheme(Precision::int4, "qdq"));
  EXPECT_EQ(initializer(p.model.graph(), "v_DQ_Q4"), "int4 [64, 16]");
  EXPECT_EQ(ints(p.model.graph().node(1)), "");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxDynamic, MatMulAsQuantizeDynamicWiresIt) {
  const Planned p = planned(one_matmul(13, 7), with_scheme(Precision::int8, "dynamic"));
  EXPECT_THAT(text(p.model.graph().node()),
              ElementsAre("DynamicQuantizeLinear(x) -> x_quantized, x_scale, x_zero_point",
                          "MatMulInteger(x_quantized, w_quantized, x_zero_point, w_zero_point) -> "
                          "y_output_quantized",
                          "Cast(y_output_quantized) -> y_output_quantized_cast_output",
                          "Mul(x_scale, w_scale) -> fc_quant_scales_mul:0",
                          "Mul(y_output_quantized_cast_output, fc_quant_scales_mul:0) -> y"));
  std::vector<std::string> names;
  for (const auto& n : p.model.graph().node()) names.push_back(n.name());
  EXPECT_THAT(names, ElementsAre("x_QuantizeLinear", "fc_quant", "y_output_quantized_cast",
                                 "fc_quant_scales_mul", "fc_quant_output_scale_mul"));
  EXPECT_EQ(initializer(p.model.graph(), "w_zero_point"), "int8 []");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxDynamic, ActivationsAreQuantizedOnceAndConvKeepsItsBias) {
  Builder b(13, 7);
  b.input("i", {1, 3, 8, 8}).output("o", {1, 4, 6, 6}).output("o2", {1, 4, 6, 6});
  b.weight("f", {4, 3, 3, 3}).weight("g", {4, 3, 3, 3}).weight("bias", {4});
  b.node("Conv", "c1", {"i", "f", "bias"}, {"o"});
  b.node("Conv", "c2", {"i", "g"}, {"o2"});
  const Planned p = planned(b, with_scheme(Precision::int8, "dynamic_channel"));
  EXPECT_THAT(
      text(p.model.graph().node()),
      ElementsAre(
          "DynamicQuantizeLinear(i) -> i_quantized, i_scale, i_zero_point",
          "ConvInteger(i_quantized, f_quantized, i_zero_point, f_zero_point) -> o_output_quantized",
          "Cast(o_output_quantized) -> o_output_quantized_cast_output",
          "Mul(i_scale, f_scale) -> c1_quant_scales_mul:0",
          "Mul(o_output_quantized_cast_output, c1_quant_scales_mul:0) -> oquant_scaled_output",
          "Reshape(bias, o_bias_reshape_shape) -> o_bias_reshape_output",
          "Add(oquant_scaled_output, o_bias_reshape_output) -> o",
          "ConvInteger(i_quantized, g_quantized, i_zero_point, g_zero_point) -> "
          "o2_output_quantized",
          "Cast(o2_output_quantized) -> o2_output_quantized_cast_output",
          "Mul(i_scale, g_scale) -> c2_quant_scales_mul:0",
          "Mul(o2_output_quantized_cast_output, c2_quant_scales_mul:0) -> o2"));
  EXPECT_EQ(initializer(p.model.graph(), "f_scale"),
            "float32 []");  // ConvInteger has one scale a tensor
  EXPECT_EQ(complaint(p.model), "");
}

// ---- Back to floats ----

class RoundTrip : public testing::TestWithParam<std::pair<Precision, const char*>> {};

TEST_P(RoundTrip, FloatGraphComesBackUnderItsNames) {
  Builder b;
  b.input("i", {2}, onnx::TensorProto::INT64)
      .output("y", {2, 32})
      .weight("t", {100, 64})
      .weight("w", {64, 32});
  b.node("Gather", "emb", {"t", "i"}, {"x"});
  b.node("MatMul", "fc", {"x", "w"}, {"y"});
  Request o = with_scheme(GetParam().first, GetParam().second);
  o.recipe.embeddings = TableBits::int8;
  const Planned quantized = planned(b, o);
  ASSERT_EQ(complaint(quantized.model), "");
  const Planned p = planned(again(quantized), options_for(Precision::fp32));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("Gather(t, i) -> x", "MatMul(x, w) -> y"));
  EXPECT_THAT(initializers(p.model.graph()), testing::UnorderedElementsAre("t", "w"));
  EXPECT_EQ(initializer(p.model.graph(), "w"), "float32 [64, 32]");
  EXPECT_EQ(complaint(p.model), "");
  for (const Job& job : p.plan.jobs) EXPECT_TRUE(std::holds_alternative<DecodeJob>(job));

  const std::vector<NamedWeight> a = onnx_weights(b.loaded()),
                                 q = onnx_weights(again(quantized).loaded());
  ASSERT_EQ(a.size(), 2u);
  ASSERT_EQ(q.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(a[i].source.name, q[i].source.name);
    EXPECT_EQ(a[i].source.k, q[i].source.k);
    EXPECT_EQ(a[i].source.n, q[i].source.n);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Schemes, RoundTrip,
    testing::Values(std::pair{Precision::int4, "matmul_nbits"}, std::pair{Precision::int4, "rtn"},
                    std::pair{Precision::int8, "k_quant"}, std::pair{Precision::int4, "hqq"},
                    std::pair{Precision::int4, "qdq"}, std::pair{Precision::int8, "qdq"},
                    std::pair{Precision::int8, "qdq_channel"},
                    std::pair{Precision::int8, "qdq_tensor"}, std::pair{Precision::int8, "dynamic"},
                    std::pair{Precision::int8, "dynamic_channel"}));

TEST(OnnxDequantize, QuantizedModelIsQuantizedAnew) {
  const Planned int4 = planned(one_matmul(), options_for(Precision::int4));
  const Planned p = planned(again(int4), options_for(Precision::int8));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMulNBits(x, w_Q8, w_scales_1) -> y"));
  EXPECT_TRUE(
      std::holds_alternative<BlockStorage>(std::get<BlockJob>(p.plan.jobs[0]).source.storage));
  EXPECT_THAT(refused(again(int4), options_for(Precision::int4)).message,
              HasSubstr("already 4-bit"));
}

TEST(OnnxDequantize, HalfPrecisionOfAQuantizedModelDecodes) {
  const Planned int4 = planned(one_matmul(), options_for(Precision::int4));
  const Planned p = planned(again(int4), options_for(Precision::fp16));
  EXPECT_EQ(initializer(p.model.graph(), "w"), "float16 [64, 32]");
  EXPECT_TRUE(std::holds_alternative<DecodeJob>(p.plan.jobs[0]));
}

TEST(OnnxDequantize, TensorsThatContradictTheAttributesAreLeftAlone) {
  Builder b = again(planned(one_matmul(), options_for(Precision::int4)));
  for (auto& a : *b.graph->mutable_node(0)->mutable_attribute())
    if (a.name() == "N") a.set_i(1000000);
  const Planned p = planned(b, options_for(Precision::fp32));
  EXPECT_EQ(p.model.graph().node(0).op_type(), "MatMulNBits");
  ASSERT_EQ(p.plan.warnings.size(), 1u);
  EXPECT_THAT(p.plan.warnings[0], HasSubstr("do not agree with its tensors"));
}

}  // namespace
}  // namespace phiquant::test
