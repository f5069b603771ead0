// --precision fp16, bf16, fp32: types, Casts, blocked operators, bodies.
#include <gmock/gmock.h>

#include "format/onnx/onnx_builder.h"

namespace phiquant::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

int type_of(const onnx::ValueInfoProto& info) { return info.type().tensor_type().elem_type(); }

Builder relu_chain() {
  Builder b;
  b.input("x", {2, 64})
      .output("y", {2, 32})
      .weight("w", {64, 32})
      .node("MatMul", "fc", {"x", "w"}, {"h"});
  b.node("Relu", "relu", {"h"}, {"y"});
  return b;
}

TEST(OnnxFloat, InputsAndOutputsKeepTheirTypeBehindCasts) {
  const Planned p = planned(relu_chain(), options_for(Precision::fp16));
  EXPECT_THAT(text(p.model.graph().node()),
              ElementsAre("Cast(x) -> graph_input_cast_0", "MatMul(graph_input_cast_0, w) -> h",
                          "Relu(h) -> graph_output_cast_0", "Cast(graph_output_cast_0) -> y"));
  EXPECT_EQ(p.model.graph().node(0).name(), "graph_input_cast0");
  EXPECT_EQ(ints(p.model.graph().node(0)), "to=10");
  EXPECT_EQ(ints(p.model.graph().node(3)), "to=1");
  EXPECT_EQ(initializer(p.model.graph(), "w"), "float16 [64, 32]");
  EXPECT_EQ(type_of(p.model.graph().input(0)), onnx::TensorProto::FLOAT);
  EXPECT_EQ(std::get<CastJob>(p.plan.jobs[0]).rule, CastRule::ort_fp16);
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxFloat, InputsAndOutputsNarrowOnRequest) {
  Request o = options_for(Precision::bf16);
  o.output.onnx.keep_io_types = false;
  const Planned p = planned(relu_chain(), o);
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMul(x, w) -> h", "Relu(h) -> y"));
  EXPECT_EQ(type_of(p.model.graph().input(0)), onnx::TensorProto::BFLOAT16);
  EXPECT_EQ(type_of(p.model.graph().output(0)), onnx::TensorProto::BFLOAT16);
  EXPECT_EQ(std::get<CastJob>(p.plan.jobs[0]).rule, CastRule::ieee);
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxFloat, BlockedOperatorsComputeInFloat32) {
  Builder b = relu_chain();
  b.weight("limit", {1}).output("m", {2, 32}).node("Max", "max", {"h", "limit"}, {"m1"});
  b.node("Sqrt", "sqrt", {"m1"}, {"m"});
  const Planned p = planned(b, options_for(Precision::fp16));
  EXPECT_THAT(
      text(p.model.graph().node()),
      ElementsAre("Cast(x) -> graph_input_cast_0", "MatMul(graph_input_cast_0, w) -> h",
                  "Cast(h) -> h_cast_to_fp32", "Relu(h) -> graph_output_cast_0",
                  "Cast(graph_output_cast_0) -> y", "Max(h_cast_to_fp32, limit) -> m1",
                  "Cast(m1) -> m1_cast_to_fp16", "Sqrt(m1_cast_to_fp16) -> graph_output_cast_1",
                  "Cast(graph_output_cast_1) -> m"));
  EXPECT_EQ(initializer(p.model.graph(), "limit"), "float32 [1]");
  EXPECT_THAT(row(p.plan, "limit")->reason, HasSubstr("Max"));
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxFloat, ListedOperatorsAndExcludedTensorsStay) {
  Request o = options_for(Precision::fp16);
  o.output.onnx.op_block_list = {"MatMul"};
  Builder b = relu_chain();
  b.weight("v", {32, 32}).output("z", {2, 32}).node("Mul", "mul", {"y", "u"}, {"z"});
  b.weight("u", {32});
  Planned p = planned(b, o);
  EXPECT_EQ(initializer(p.model.graph(), "w"), "float32 [64, 32]");
  EXPECT_EQ(text(p.model.graph().node(0)), "MatMul(x, w) -> h");
  EXPECT_EQ(complaint(p.model), "");
  o.output.onnx.op_block_list.clear();
  o.recipe.exclude = {"w"};
  p = planned(b, o);
  EXPECT_EQ(initializer(p.model.graph(), "w"), "float32 [64, 32]");
  EXPECT_EQ(initializer(p.model.graph(), "u"), "float16 [32]");
}

TEST(OnnxFloat, ResizeScalesStayFloat32) {
  Builder b(13, 7);
  b.input("x", {1, 1, 4, 4})
      .output("y", {1, 1, 8, 8})
      .floats("s", {4}, {1, 1, 2, 2})
      .weight("k", {1});
  b.node("Mul", "mul", {"x", "k"}, {"xk"});
  b.node("Resize", "up", {"xk", "", "s"}, {"y"});
  const Planned p = planned(b, options_for(Precision::fp16));
  EXPECT_EQ(initializer(p.model.graph(), "s"), "float32 [4]");
  EXPECT_EQ(initializer(p.model.graph(), "k"), "float16 [1]");
  EXPECT_EQ(text(p.model.graph().node(2)), "Resize(xk, , s) -> graph_output_cast_0");
}

TEST(OnnxFloat, ConstantsAttributesAndCasts) {
  Builder b;
  b.input("x", {2}).input("n", {1}, onnx::TensorProto::INT64).output("y", {2});
  attribute(b.node("Constant", "c", {}, {"half"}), "value_float", onnx::AttributeProto::FLOAT)
      ->set_f(0.5f);
  b.node("ConstantOfShape", "z", {"n"}, {"zeros"});
  set_int(b.node("Cast", "cast", {"n"}, {"nf"}), "to", onnx::TensorProto::FLOAT);
  b.node("Add", "a1", {"x", "half"}, {"t1"});
  b.node("Add", "a2", {"t1", "zeros"}, {"t2"});
  b.node("Add", "a3", {"t2", "nf"}, {"y"});
  const Planned p = planned(b, options_for(Precision::fp16));
  const auto& nodes = p.model.graph().node();
  EXPECT_EQ(nodes[1].attribute(0).name(), "value");
  EXPECT_EQ(nodes[1].attribute(0).t().data_type(), onnx::TensorProto::FLOAT16);
  EXPECT_EQ(nodes[2].attribute(0).t().data_type(), onnx::TensorProto::FLOAT16);
  EXPECT_EQ(ints(nodes[3]), "to=10");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxFloat, BodiesAreConverted) {
  Builder b;
  b.input("x", {2, 64})
      .input("c", {}, onnx::TensorProto::BOOL)
      .output("y", {2, 64})
      .weight("k", {64});
  auto* branch = b.node("If", "if", {"c"}, {"y"});
  for (const char* name : {"then_branch", "else_branch"}) {
    auto* body = attribute(branch, name, onnx::AttributeProto::GRAPH)->mutable_g();
    body->set_name(name);
    const std::string out = std::string(name) + "_y", mid = std::string(name) + "_m";
    Builder::value(body->add_output(), out, onnx::TensorProto::FLOAT, {2, 64});
    *body->add_initializer() =
        Builder::tensor(std::string(name) + "_k", {64}, onnx::TensorProto::FLOAT, 4);
    Builder::fill(body->add_node(), "Mul", mid, {"x", std::string(name) + "_k"}, {mid});
    Builder::fill(body->add_node(), "Min", out, {mid, "k"}, {out});
  }
  const Planned p = planned(b, options_for(Precision::fp16));
  const auto& body = p.model.graph().node(1).attribute(0).g();
  EXPECT_THAT(text(body.node()),
              ElementsAre("Mul(graph_input_cast_0, then_branch_k) -> then_branch_m",
                          "Cast(then_branch_m) -> then_branch_m_cast_to_fp32",
                          "Min(then_branch_m_cast_to_fp32, k) -> then_branch_y_cast_to_fp16",
                          "Cast(then_branch_y_cast_to_fp16) -> then_branch_y"));
  EXPECT_EQ(type_of(body.output(0)), onnx::TensorProto::FLOAT16);
  EXPECT_EQ(initializer(body, "then_branch_k"), "float16 [64]");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxFloat, NarrowModelsAreWidened) {
  Builder b;
  b.input("x", {2, 64}, onnx::TensorProto::FLOAT16)
      .output("y", {2, 32}, onnx::TensorProto::FLOAT16);
  b.weight("w.bf16", {64, 32}, onnx::TensorProto::BFLOAT16, 2);
  set_int(b.node("Cast", "", {"w.bf16"}, {"w"}), "to", onnx::TensorProto::FLOAT16);
  b.node("MatMul", "fc", {"x", "w"}, {"y"});
  const Planned p = planned(b, options_for(Precision::fp32));
  EXPECT_THAT(text(p.model.graph().node()), ElementsAre("MatMul(x, w) -> y"));
  EXPECT_EQ(initializer(p.model.graph(), "w"), "float32 [64, 32]");
  EXPECT_EQ(type_of(p.model.graph().input(0)), onnx::TensorProto::FLOAT);
  EXPECT_EQ(std::get<CastJob>(p.plan.jobs[0]).source.dtype, DType::bf16);
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxFloat, SchemesAreRefused) {
  Request o = options_for(Precision::fp16);
  o.recipe.scheme = "rtn";
  EXPECT_EQ(refused(relu_chain(), o).code, Errc::usage);
}

}  // namespace
}  // namespace phiquant::test
