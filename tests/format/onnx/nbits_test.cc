// --precision int4 and int8 with contributed operators: graph, names, roles, refusals.
#include <gmock/gmock.h>

#include "format/onnx/onnx_builder.h"

namespace phiquant::test {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(OnnxNbits, MatMulBecomesMatMulNBits) {
  const Planned p = planned(one_matmul(), options_for(Precision::int4));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMulNBits(x, w_Q4, w_scales) -> y"));
  EXPECT_EQ(p.model.graph().node(0).name(), "fc_Q4");
  EXPECT_EQ(p.model.graph().node(0).domain(), "com.microsoft");
  EXPECT_EQ(ints(p.model.graph().node(0)), "K=64 N=32 accuracy_level=4 bits=4 block_size=32");
  EXPECT_THAT(initializers(p.model.graph()), ElementsAre("w_Q4", "w_scales"));
  EXPECT_EQ(initializer(p.model.graph(), "w_Q4"), "uint8 [32, 2, 16]");
  EXPECT_EQ(initializer(p.model.graph(), "w_scales"), "float32 [32, 2]");
  EXPECT_EQ(p.model.opset_import_size(), 2);
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxNbits, RaggedKAndZeroPoints) {
  Builder b;
  b.input("x", {2, 70})
      .output("y", {2, 3})
      .weight("w", {70, 3})
      .node("MatMul", "fc", {"x", "w"}, {"y"});
  Request o = options_for(Precision::int4);
  o.recipe.symmetric = false;
  o.output.onnx.accuracy_level = 0;
  const Planned p = planned(b, o);
  EXPECT_THAT(text(p.model.graph().node()),
              ElementsAre("MatMulNBits(x, w_Q4, w_scales, w_zero_points) -> y"));
  EXPECT_EQ(ints(p.model.graph().node(0)), "K=70 N=3 bits=4 block_size=32");
  EXPECT_EQ(initializer(p.model.graph(), "w_Q4"), "uint8 [3, 3, 16]");
  EXPECT_EQ(initializer(p.model.graph(), "w_zero_points"), "uint8 [3, 2]");
}

TEST(OnnxNbits, SchemesOfTheOtherQuantizersKeepTheirNames) {
  Request o = options_for(Precision::int8);
  o.recipe.scheme = "k_quant";
  o.recipe.block_size = 16;
  const Planned p = planned(one_matmul(), o);
  EXPECT_THAT(text(p.model.graph().node()),
              ElementsAre("MatMulNBits(x, w_Q8G16, w_scale, w_zp) -> y"));
  EXPECT_EQ(p.model.graph().node(0).name(), "fc_Q8");
}

TEST(OnnxNbits, FloatZeroPointsOfHqq) {
  Request o = options_for(Precision::int4);
  o.recipe.scheme = "hqq";
  const Planned p = planned(one_matmul(), o);
  EXPECT_EQ(initializer(p.model.graph(), "w_zero_points"), "float32 [32, 2]");
}

TEST(OnnxNbits, SharedWeightIsQuantizedOnce) {
  Builder b = one_matmul();
  b.output("z", {2, 32}).node("MatMul", "fc2", {"x", "w"}, {"z"});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMulNBits(x, w_Q4, w_scales) -> y",
                                                        "MatMulNBits(x, w_Q4, w_scales) -> z"));
  EXPECT_EQ(p.plan.jobs.size(), 1u);
  EXPECT_THAT(initializers(p.model.graph()), ElementsAre("w_Q4", "w_scales"));
}

TEST(OnnxNbits, WeightStaysForReadersThatCannotBeQuantized) {
  Builder b = one_matmul();
  b.output("z", {64, 32}).node("Relu", "", {"w"}, {"z"});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_THAT(initializers(p.model.graph()), ElementsAre("w_Q4", "w_scales", "w"));
}

TEST(OnnxNbits, TakenNamesGetASuffix) {
  Builder b = one_matmul();
  b.weight("w_Q4", {1}).output("q", {1}).node("Identity", "fc_Q4", {"w_Q4"}, {"q"});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_EQ(text(p.model.graph().node(0)), "MatMulNBits(x, w_Q4_1, w_scales) -> y");
  EXPECT_EQ(p.model.graph().node(0).name(), "fc_Q4_1");
}

TEST(OnnxNbits, CastOfABf16WeightIsFolded) {
  Builder b;
  b.input("x", {2, 64})
      .output("y", {2, 32})
      .weight("w.bf16", {64, 32}, onnx::TensorProto::BFLOAT16, 2);
  set_int(b.node("Cast", "", {"w.bf16"}, {"w"}), "to", onnx::TensorProto::FLOAT);
  b.node("MatMul", "fc", {"x", "w"}, {"y"});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMulNBits(x, w_Q4, w_scales) -> y"));
  EXPECT_EQ(initializer(p.model.graph(), "w_scales"), "float32 [32, 2]");
  const auto& job = std::get<BlockJob>(p.plan.jobs[0]);
  EXPECT_EQ(job.params.weight_dtype, DType::f32);
  EXPECT_EQ(std::get<DenseStorage>(job.source.storage).data.dtype, DType::bf16);
  EXPECT_EQ(p.plan.rows[0].tensor, "w.bf16");
}

TEST(OnnxNbits, TransposedWeightIsReadAsItLies) {
  Builder b;
  b.input("x", {2, 64}).output("y", {2, 32}).weight("w", {32, 64});
  b.node("Transpose", "", {"w"}, {"wt"});
  b.node("MatMul", "fc", {"x", "wt"}, {"y"});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMulNBits(x, w_Q4, w_scales) -> y"));
  EXPECT_EQ(ints(p.model.graph().node(0)), "K=64 N=32 accuracy_level=4 bits=4 block_size=32");
  EXPECT_EQ(std::get<DenseStorage>(std::get<BlockJob>(p.plan.jobs[0]).source.storage).orientation,
            Orientation::nk);
}

TEST(OnnxNbits, GemmKeepsAlphaBetaAndBias) {
  Builder b;
  b.input("x", {2, 64}).output("y", {2, 32}).weight("w", {32, 64}).weight("c", {32});
  auto* gemm = b.node("Gemm", "fc", {"x", "w", "c"}, {"y"});
  set_int(gemm, "transB", 1);
  set_float(gemm, "alpha", 2.0f);
  set_float(gemm, "beta", 0.5f);
  const Planned p = planned(b, options_for(Precision::int8));
  EXPECT_THAT(
      text(p.model.graph().node()),
      ElementsAre("MatMulNBits(x, w_Q8, w_scales) -> y_matmul",
                  "Mul(y_matmul, fc_Q8_alpha) -> y_scaled", "Mul(c, fc_Q8_beta) -> y_bias_scaled",
                  "Add(y_scaled, y_bias_scaled) -> y"));
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxNbits, ConstantNodesAreWeights) {
  Builder b;
  b.input("x", {2, 64}).output("y", {2, 32});
  *attribute(b.node("Constant", "c", {}, {"w"}), "value", onnx::AttributeProto::TENSOR)
       ->mutable_t() = Builder::tensor("", {64, 32}, onnx::TensorProto::FLOAT, 4);
  b.node("MatMul", "fc", {"x", "w"}, {"y"});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMulNBits(x, w_Q4, w_scales) -> y"));
  EXPECT_THAT(initializers(p.model.graph()), ElementsAre("w_Q4", "w_scales"));
}

TEST(OnnxNbits, BodiesUseWeightsOfTheGraphAround) {
  Builder b;
  b.input("x", {2, 64})
      .input("c", {}, onnx::TensorProto::BOOL)
      .output("y", {2, 32})
      .weight("w", {64, 32});
  auto* branch = b.node("If", "if", {"c"}, {"y"});
  for (const char* name : {"then_branch", "else_branch"}) {
    auto* body = attribute(branch, name, onnx::AttributeProto::GRAPH)->mutable_g();
    body->set_name(name);
    const std::string out = std::string(name) + "_y";
    Builder::value(body->add_output(), out, onnx::TensorProto::FLOAT, {2, 32});
    Builder::fill(body->add_node(), "MatMul", std::string(name) + "_fc", {"x", "w"}, {out});
  }
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_EQ(text(p.model.graph().node(0).attribute(0).g().node(0)),
            "MatMulNBits(x, w_Q4, w_scales) -> then_branch_y");
  EXPECT_EQ(text(p.model.graph().node(0).attribute(1).g().node(0)),
            "MatMulNBits(x, w_Q4, w_scales) -> else_branch_y");
  EXPECT_THAT(initializers(p.model.graph()), ElementsAre("w_Q4", "w_scales"));
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxNbits, FunctionsGetConstantNodesAndTheDomain) {
  Builder b;
  b.input("x", {2, 64}).output("y", {2, 32}).node("Dense", "call", {"x"}, {"y"}, "local");
  auto* import = b.model.add_opset_import();
  import->set_domain("local");
  import->set_version(1);
  auto* f = b.model.add_functions();
  f->set_name("Dense");
  f->set_domain("local");
  f->add_input("a");
  f->add_output("r");
  f->add_opset_import()->set_version(21);
  *attribute(Builder::fill(f->add_node(), "Constant", "", {}, {"w"}), "value",
             onnx::AttributeProto::TENSOR)
       ->mutable_t() = Builder::tensor("", {64, 32}, onnx::TensorProto::FLOAT, 4);
  Builder::fill(f->add_node(), "MatMul", "fc", {"a", "w"}, {"r"});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_THAT(text(p.model.functions(0).node()),
              ElementsAre("Constant() -> w_Q4", "Constant() -> w_scales",
                          "MatMulNBits(a, w_Q4, w_scales) -> r"));
  EXPECT_EQ(p.model.functions(0).opset_import_size(), 2);
  EXPECT_EQ(p.plan.files.size(), 1u);  // functions cannot hold external data
}

TEST(OnnxNbits, LmHeadStaysAtEightBits) {
  Builder b;
  b.input("x", {2, 64}).output("logits", {2, 32}).weight("w", {64, 64}).weight("head", {64, 32});
  b.node("MatMul", "fc", {"x", "w"}, {"h"});
  b.node("MatMul", "lm", {"h", "head"}, {"l"});
  b.node("Identity", "", {"l"}, {"logits"});
  Request o = options_for(Precision::int4);
  Planned p = planned(b, o);
  EXPECT_EQ(text(p.model.graph().node(1)), "MatMulNBits(h, head_Q8, head_scales) -> l");
  EXPECT_EQ(row(p.plan, "head")->role, "lm_head");
  EXPECT_EQ(row(p.plan, "head")->bits, 8u);
  EXPECT_THAT(row(p.plan, "head")->reason, HasSubstr("--no-protect"));
  o.recipe.protect = false;
  EXPECT_EQ(text(planned(b, o).model.graph().node(1)), "MatMulNBits(h, head_Q4, head_scales) -> l");
  o.recipe.protect = true;
  o.recipe.lm_head = TableBits::keep;
  EXPECT_EQ(text(planned(b, o).model.graph().node(1)), "MatMul(h, head) -> l");
}

TEST(OnnxNbits, GatherTables) {
  Builder b;
  b.input("i", {3}, onnx::TensorProto::INT64)
      .output("y", {3, 64})
      .weight("t", {10, 64})
      .node("Gather", "emb", {"t", "i"}, {"y"});
  Request o = options_for(Precision::int8);
  EXPECT_THAT(refused(b, o).message, HasSubstr("embeddings stay float"));
  o.recipe.embeddings = TableBits::int8;
  Planned p = planned(b, o);
  EXPECT_THAT(text(p.model.graph().node()),
              ElementsAre("GatherBlockQuantized(t_Q8, i, t_scales) -> y"));
  EXPECT_EQ(ints(p.model.graph().node(0)), "bits=8 block_size=32 gather_axis=0 quantize_axis=1");
  EXPECT_EQ(initializer(p.model.graph(), "t_Q8"), "uint8 [10, 64]");
  o.recipe.embeddings = TableBits::int4;
  o.recipe.symmetric = false;
  p = planned(b, o);
  EXPECT_EQ(initializer(p.model.graph(), "t_Q4"), "uint4 [10, 64]");
  EXPECT_EQ(initializer(p.model.graph(), "t_zero_points"), "uint4 [10, 2]");
  EXPECT_EQ(p.model.graph().node(0).name(), "emb_Q4");
}

TEST(OnnxNbits, IncludeAndExclude) {
  Builder b = one_matmul();
  b.weight("v", {32, 32}).output("z", {2, 32}).node("MatMul", "fc2", {"y", "v"}, {"z"});
  Request o = options_for(Precision::int4);
  o.recipe.exclude = {"fc2"};
  EXPECT_EQ(row(planned(b, o).plan, "v")->reason, "excluded");
  o.recipe.exclude.clear();
  o.recipe.include = {"v"};
  EXPECT_EQ(row(planned(b, o).plan, "w")->reason, "not included");
  o.recipe.include = {"fc3"};
  const Error e = refused(b, o);
  EXPECT_EQ(e.code, Errc::usage);
  EXPECT_THAT(e.message, HasSubstr("did you mean 'fc"));
}

TEST(OnnxNbits, NothingToQuantizeSaysWhy) {
  Builder b;
  b.input("x", {2, 4, 64})
      .output("y", {2, 4, 32})
      .weight("w", {2, 64, 32})
      .node("MatMul", "fc", {"x", "w"}, {"y"});
  const Error e = refused(b, options_for(Precision::int4));
  EXPECT_EQ(e.code, Errc::unsupported);
  EXPECT_THAT(e.message, HasSubstr("'w': batched weight [2, 64, 32]"));
}

TEST(OnnxNbits, IllegalPairsAreUsageErrors) {
  Request o = options_for(Precision::int4);
  o.recipe.block_size = 48;
  EXPECT_THAT(refused(one_matmul(), o).message, HasSubstr("16, 32, 64, 128, 256"));
  o = options_for(Precision::int4);
  o.recipe.scheme = "k_quant";
  o.recipe.symmetric = true;
  EXPECT_EQ(refused(one_matmul(), o).code, Errc::usage);
  o = options_for(Precision::int4);
  o.recipe.scheme = "qdq_channel";
  EXPECT_EQ(refused(one_matmul(), o).code, Errc::usage);
  o = options_for(Precision::int8);
  o.recipe.scheme = "hqq";
  EXPECT_EQ(refused(one_matmul(), o).code, Errc::usage);
  EXPECT_THAT(refused(one_matmul(), o).message,
              AllOf(HasSubstr("with 4 bits only"), HasSubstr("k_quant")));
  o = options_for(Precision::int4);
  o.recipe.scheme = "matmul_nbit";
  EXPECT_THAT(refused(one_matmul(), o).message, HasSubstr("unknown (see 'phiquant list')"));
}

TEST(OnnxNbits, KeepFloatIsRespected) {
  Evidence extras;
  extras.non_finite = {"w"};
  const auto plan = plan_onnx(one_matmul().loaded(), options_for(Precision::int4), extras);
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, HasSubstr("NaN"));
}

TEST(OnnxNbits, ProvenanceHasNoDatesAndKeepsTheProducer) {
  const Planned p = planned(one_matmul(), options_for(Precision::int4));
  EXPECT_EQ(p.model.producer_name(), "phiquant");
  std::map<std::string, std::string> metadata;
  for (const auto& e : p.model.metadata_props()) metadata[e.key()] = e.value();
  EXPECT_EQ(metadata,
            (std::map<std::string, std::string>{{"phiquant.source_producer", "exporter 7"},
                                                {"phiquant.precision", "int4"},
                                                {"phiquant.scheme", "matmul_nbits"},
                                                {"phiquant.block_size", "32"},
                                                {"phiquant.symmetric", "true"}}));
}

}  // namespace
}  // namespace phiquant::test
