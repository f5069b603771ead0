// Raising a model's opset: nodes keep their meaning, or the model is refused.
#include <gmock/gmock.h>

#include "format/onnx/onnx_builder.h"

namespace phiquant::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A MatMul that --scheme qdq_channel quantizes, which needs opset 13.
Builder one_matmul(int64_t opset) {
  Builder b(opset, 6);
  b.input("x", {2, 64})
      .output("y", {2, 32})
      .weight("w", {64, 32})
      .node("MatMul", "fc", {"x", "w"}, {"y"});
  return b;
}
Request per_channel() {
  Request o = options_for(Precision::int8);
  o.recipe.scheme = "qdq_channel";
  return o;
}
// What became of the nodes behind the MatMul.
std::vector<std::string> rest(const Planned& p) {
  std::vector<std::string> all = text(p.model.graph().node());
  all.erase(all.begin(), all.begin() + std::min<ptrdiff_t>(2, std::ssize(all)));
  return all;
}

TEST(OnnxOpset, SoftmaxOfTheLastAxisStays) {
  Builder b = one_matmul(11);
  b.input("u", {2, 3, 4, 5})
      .output("s", {2, 32})
      .output("t", {2, 3, 4, 5})
      .output("r", {2, 3, 4, 5});
  b.node("Softmax", "by_default", {"y"}, {"s"});  // axis 1 of 2
  set_int(b.node("Softmax", "declared", {"u"}, {"t"}), "axis", 3);
  set_int(b.node("LogSoftmax", "negative", {"u"}, {"r"}), "axis", -1);
  const Planned p = planned(b, per_channel());
  EXPECT_EQ(p.model.opset_import(0).version(), 13);
  EXPECT_EQ(p.plan.rows[0].action, "qdq_channel");
  ASSERT_THAT(rest(p), ElementsAre("Softmax(y) -> s", "Softmax(u) -> t", "LogSoftmax(u) -> r"));
  for (int i = 2; i < 5; ++i) EXPECT_EQ(ints(p.model.graph().node(i)), "axis=-1");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxOpset, SoftmaxOfADeducedRankStays) {
  Builder b = one_matmul(12);
  b.input("u", {2, 3, 40}).output("s", {});
  b.graph->mutable_output(1)->mutable_type()->mutable_tensor_type()->clear_shape();
  b.node("Shape", "", {"u"}, {"shape"});
  b.node("Slice", "", {"shape", "begin", "end"}, {"front"});
  b.node("Concat", "", {"front", "tail"}, {"all"});
  set_int(b.graph->mutable_node(3), "axis", 0);
  for (const auto& [name, values] : std::map<std::string, std::vector<int64_t>>{
           {"begin", {0}}, {"end", {2}}, {"tail", {8, 5}}}) {
    auto* t = b.graph->add_initializer();
    *t = Builder::tensor(name, {static_cast<int64_t>(values.size())}, onnx::TensorProto::INT64, 8);
    t->set_raw_data(std::string(reinterpret_cast<const char*>(values.data()), values.size() * 8));
  }
  b.node("Reshape", "", {"u", "all"}, {"v"});
  b.node("Relu", "", {"v"}, {"a"});
  set_int(b.node("Softmax", "soft", {"a"}, {"s"}), "axis", 3);  // of 2 + 2 dimensions
  const Planned p = planned(b, per_channel());
  ASSERT_EQ(p.model.graph().node_size(), 8);
  EXPECT_EQ(rest(p).back(), "Softmax(a) -> s");
  EXPECT_EQ(ints(*p.model.graph().node().rbegin()), "axis=-1");
}

TEST(OnnxOpset, SoftmaxThatFlattensIsSpelledOut) {
  Builder b = one_matmul(11);
  b.input("u", {2, 3, 4})
      .output("s", {2, 3, 4})
      .node("Softmax", "soft", {"u"}, {"s"});  // axis 1 of 3
  const Planned p = planned(b, per_channel());
  ASSERT_THAT(rest(p), ElementsAre("Shape(u) -> s_shape", "Flatten(u) -> s_rows",
                                   "Softmax(s_rows) -> s_normalized",
                                   "Reshape(s_normalized, s_shape) -> s"));
  EXPECT_EQ(ints(p.model.graph().node(3)), "axis=1");
  EXPECT_EQ(ints(p.model.graph().node(4)), "axis=-1");
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxOpset, SoftmaxOfUnknownRankIsSpelledOut) {
  Builder b = one_matmul(11);
  b.input("u", {}).output("s", {});
  b.graph->mutable_input(1)->mutable_type()->mutable_tensor_type()->clear_shape();
  b.graph->mutable_output(1)->mutable_type()->mutable_tensor_type()->clear_shape();
  set_int(b.node("Softmax", "soft", {"u"}, {"s"}), "axis", 3);
  EXPECT_EQ(rest(planned(b, per_channel())).size(), 4u);
}

TEST(OnnxOpset, NewSoftmaxIsNotTouched) {
  Builder b = one_matmul(13);
  b.input("u", {2, 3, 4}).output("s", {2, 3, 4});
  set_int(b.node("Softmax", "soft", {"u"}, {"s"}), "axis", 1);
  Request o = options_for(Precision::int4);
  o.recipe.scheme = "qdq";
  const Planned p = planned(b, o);
  EXPECT_EQ(p.model.opset_import(0).version(), 21);
  ASSERT_THAT(rest(p), ElementsAre("Softmax(u) -> s"));
  EXPECT_EQ(ints(p.model.graph().node(2)), "axis=1");
}

TEST(OnnxOpset, AttributesBecomeInputs) {
  Builder b = one_matmul(11);
  b.input("u", {1, 4, 6})
      .output("sq", {4, 6})
      .output("un", {1, 1, 4, 6})
      .output("sum", {1, 4, 1})
      .output("p", {1, 1, 6})
      .output("q", {1, 3, 6});
  set_ints(b.node("Squeeze", "a", {"u"}, {"sq"}), "axes", {0});
  set_ints(b.node("Unsqueeze", "b", {"u"}, {"un"}), "axes", {0});
  set_ints(b.node("ReduceSum", "c", {"u"}, {"sum"}), "axes", {2});
  auto* split = b.node("Split", "d", {"u"}, {"p", "q"});
  set_int(split, "axis", 1);
  set_ints(split, "split", {1, 3});
  const Planned p = planned(b, per_channel());
  EXPECT_THAT(rest(p), ElementsAre("Squeeze(u, a_axes) -> sq", "Unsqueeze(u, b_axes) -> un",
                                   "ReduceSum(u, c_axes) -> sum", "Split(u, d_split) -> p, q"));
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxOpset, DropoutLosesItsRatio) {
  Builder b = one_matmul(11);
  b.output("d", {2, 32});
  set_float(b.node("Dropout", "drop", {"y"}, {"d"}), "ratio", 0.25f);
  const Planned p = planned(b, per_channel());
  ASSERT_EQ(p.model.graph().node_size(), 3);
  EXPECT_EQ(p.model.graph().node(2).attribute_size(), 0);
  EXPECT_EQ(complaint(p.model), "");
}

TEST(OnnxOpset, WhatChangedBefore11Forbids) {
  Builder b = one_matmul(9);
  b.output("c", {2, 32});
  auto* clip = b.node("Clip", "clip", {"y"}, {"c"});
  set_float(clip, "min", 0.0f);
  // One scale a tensor needs opset 10 only: Clip is the same there.
  const Planned p = planned(b, per_channel());
  EXPECT_EQ(p.plan.rows[0].action, "qdq_tensor");
  EXPECT_EQ(p.model.opset_import(0).version(), 10);
  Request o = options_for(Precision::int4);
  o.recipe.scheme = "qdq";
  const Error e = refused(b, o);
  EXPECT_EQ(e.code, Errc::unsupported);
  EXPECT_THAT(e.message, HasSubstr("Clip node 'clip'"));
}

}  // namespace
}  // namespace phiquant::test
