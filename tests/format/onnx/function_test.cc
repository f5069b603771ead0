// Local functions: they survive, but for those that hide weights or types.
#include <gmock/gmock.h>

#include "format/onnx/onnx_builder.h"

namespace phiquant::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

onnx::FunctionProto* add_function(Builder& b, const std::string& name,
                                  const std::vector<std::string>& inputs) {
  auto* f = b.model.add_functions();
  f->set_name(name);
  f->set_domain("local");
  for (const auto& i : inputs) f->add_input(i);
  f->add_output("r");
  f->add_opset_import()->set_version(21);
  auto* local = f->add_opset_import();
  local->set_domain("local");
  local->set_version(1);
  return f;
}

Builder with_import() {
  Builder b;
  auto* import = b.model.add_opset_import();
  import->set_domain("local");
  import->set_version(1);
  return b;
}

std::vector<std::string> functions(const onnx::ModelProto& model) {
  std::vector<std::string> out;
  for (const auto& f : model.functions()) out.push_back(f.name());
  return out;
}

// Relu2(Dense(x, w)): only Dense multiplies by its argument.
Builder weight_as_argument() {
  Builder b = with_import();
  b.input("x", {2, 64}).output("y", {2, 32}).weight("w", {64, 32});
  auto* dense = add_function(b, "Dense", {"a", "m"});
  Builder::fill(dense->add_node(), "MatMul", "fc", {"a", "m"}, {"r"});
  auto* relu = add_function(b, "Relu2", {"a"});
  Builder::fill(relu->add_node(), "Relu", "", {"a"}, {"r"});
  b.node("Dense", "d", {"x", "w"}, {"h"}, "local");
  b.node("Relu2", "r", {"h"}, {"y"}, "local");
  return b;
}

TEST(OnnxFunctions, WeightsThatComeAsArgumentsAreQuantized) {
  const Planned p = planned(weight_as_argument(), options_for(Precision::int4));
  EXPECT_THAT(text(p.model.graph().node()),
              ElementsAre("MatMulNBits(x, w_Q4, w_scales) -> h", "Relu2(h) -> y"));
  EXPECT_THAT(functions(p.model), ElementsAre("Relu2"));
  EXPECT_THAT(p.plan.warnings, ElementsAre(HasSubstr("get weights as arguments: local.Dense")));
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxFunctions, ArgumentsAreFollowedThroughCallsAndTransposes) {
  Builder b = weight_as_argument();
  auto* outer = add_function(b, "Outer", {"a", "v"});
  Builder::fill(outer->add_node(), "Transpose", "", {"v"}, {"t"});
  Builder::fill(outer->add_node(), "Dense", "", {"a", "t"}, {"r"}, "local");
  b.weight("wt", {16, 64}).output("z", {2, 16});
  b.node("Outer", "o", {"x", "wt"}, {"z"}, "local");
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_EQ(initializer(p.model.graph(), "wt_Q4"), "uint8 [16, 2, 16]");
  EXPECT_THAT(functions(p.model), ElementsAre("Relu2"));
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxFunctions, StayWhereNoConstantComes) {
  Builder b = weight_as_argument();
  b.input("v", {64, 32});
  b.graph->mutable_node(0)->set_input(1, "v");
  b.weight("u", {32, 16}).output("z", {2, 16}).node("MatMul", "fc", {"y", "u"}, {"z"});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_THAT(functions(p.model), ElementsAre("Dense", "Relu2"));
  EXPECT_THAT(p.plan.warnings, IsEmpty());
}

TEST(OnnxFunctions, TablesOnlyWhereTheyAreAskedFor) {
  Builder b = weight_as_argument();
  auto* look_up = add_function(b, "LookUp", {"t", "i"});
  Builder::fill(look_up->add_node(), "Gather", "", {"t", "i"}, {"r"});
  b.input("ids", {3}, onnx::TensorProto::INT64).weight("table", {10, 64}).output("e", {3, 64});
  b.node("LookUp", "l", {"table", "ids"}, {"e"}, "local");
  Request o = options_for(Precision::int4);
  EXPECT_THAT(functions(planned(b, o).model), ElementsAre("Relu2", "LookUp"));
  o.recipe.embeddings = TableBits::int8;
  const Planned p = planned(b, o);
  EXPECT_THAT(functions(p.model), ElementsAre("Relu2"));
  EXPECT_EQ(initializer(p.model.graph(), "table_Q8"), "uint8 [10, 64]");
}

// Not a valid model; the onnx library inlines nothing then.
TEST(OnnxFunctions, CallsInACircleAreRefused) {
  Builder b = weight_as_argument();
  auto* a = add_function(b, "A", {"a", "v"});
  Builder::fill(a->add_node(), "B", "", {"a", "v"}, {"r"}, "local");
  auto* c = add_function(b, "B", {"a", "v"});
  Builder::fill(c->add_node(), "A", "", {"a", "v"}, {"r"}, "local");
  b.weight("k", {64, 32}).output("z", {2, 32}).node("A", "o", {"x", "k"}, {"z"}, "local");
  EXPECT_EQ(refused(b, options_for(Precision::int4)).code, Errc::unsupported);
}

// Max stays float32: what is around it needs Casts, which depend on the type of the call.
Builder largest(int other_type) {
  Builder b = with_import();
  b.input("x", {2, 64}).output("y", {2, 32}).weight("w", {64, 32});
  b.node("MatMul", "fc", {"x", "w"}, {"h"});
  auto* f = add_function(b, "Largest", {"a"});
  Builder::fill(f->add_node(), "Max", "", {"a", "a"}, {"r"});
  b.node("Largest", "", {"h"}, {"y"}, "local");
  b.input("n", {3}, other_type).output("m", {3}, other_type);
  b.node("Largest", "", {"n"}, {"m"}, "local");
  return b;
}

TEST(OnnxFunctions, OneOfTwoTypesIsInlinedForHalves) {
  const Planned p = planned(largest(onnx::TensorProto::INT64), options_for(Precision::fp16));
  EXPECT_THAT(functions(p.model), IsEmpty());
  EXPECT_THAT(p.plan.warnings, ElementsAre(HasSubstr("have no one type: local.Largest")));
  EXPECT_EQ(complaint(p.model), "");
  const Planned same = planned(largest(onnx::TensorProto::FLOAT), options_for(Precision::fp16));
  EXPECT_THAT(functions(same.model), ElementsAre("Largest"));
  EXPECT_EQ(complaint(same.model), "");
}

}  // namespace
}  // namespace phiquant::test
