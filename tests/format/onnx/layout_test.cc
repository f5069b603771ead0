// Where bytes lie: offsets, files, thresholds, determinism.
#include <gmock/gmock.h>

#include "format/onnx/onnx_builder.h"

namespace phiquant::test {
namespace {

using testing::HasSubstr;

Builder three_weights() {
  Builder b;
  b.input("x", {2, 512})
      .output("y", {2, 1024})
      .weight("a", {512, 1024})
      .weight("big", {1024, 1024})
      .weight("bias", {1024});
  b.node("MatMul", "m1", {"x", "a"}, {"h"});
  b.node("MatMul", "m2", {"h", "big"}, {"h2"});
  b.node("Add", "add", {"h2", "bias"}, {"y"});
  return b;
}

// Literals, holes and tensors cover every byte of model.onnx once, and data files without overlap.
void expect_exact(const Plan& plan) {
  for (uint32_t f = 0; f < plan.files.size(); ++f) {
    std::map<uint64_t, uint64_t> ranges;
    for (const Literal& l : plan.files[f].literals)
      if (!l.bytes.empty()) {
        EXPECT_TRUE(ranges.emplace(l.offset, l.bytes.size()).second);
      }
    for (const OutTensor& t : plan.tensors)
      if (t.file == f && t.size_bytes) {
        EXPECT_TRUE(ranges.emplace(t.offset, t.size_bytes).second) << t.name;
      }
    uint64_t end = 0;
    for (const auto& [offset, size] : ranges) {
      EXPECT_GE(offset, end);
      if (f == 0) {
        EXPECT_EQ(offset, end);
      }
      end = offset + size;
    }
    EXPECT_EQ(end, plan.files[f].size_bytes);
  }
}

TEST(OnnxLayout, FolderHasOneDataFileInGraphOrder) {
  const Planned p = planned(three_weights(), options_for(Precision::fp16));
  ASSERT_EQ(p.plan.files.size(), 2u);
  EXPECT_EQ(p.plan.files[0].path, "model.onnx");
  EXPECT_EQ(p.plan.files[1].path, "model.onnx.data");
  EXPECT_TRUE(p.plan.is_directory);
  expect_exact(p.plan);
  EXPECT_EQ(p.plan.tensors[0].name, "a");
  EXPECT_EQ(p.plan.tensors[0].offset, 0u);
  EXPECT_EQ(p.plan.tensors[1].offset, 1024u * 1024);
  EXPECT_EQ(p.plan.tensors[2].offset, 3u * 1024 * 1024);
  EXPECT_EQ(p.plan.input_bytes, 1000u);
  EXPECT_EQ(p.model.graph().initializer(1).external_data(0).value(), "model.onnx.data");
}

TEST(OnnxLayout, LargeTensorsStartOnAPageSmallOnesOn64Bytes) {
  Builder b = three_weights();
  b.weight("odd", {515}).output("z", {515}).node("Relu", "r", {"odd"}, {"z"});
  b.weight("last", {1024, 1024}).output("q", {1024, 1024}).node("Relu", "r2", {"last"}, {"q"});
  const Planned p = planned(b, options_for(Precision::fp16));
  for (const OutTensor& t : p.plan.tensors)
    EXPECT_EQ(t.offset % (t.size_bytes >= (1u << 20) ? 4096 : 64), 0u) << t.name;
  expect_exact(p.plan);
}

TEST(OnnxLayout, SmallTensorsStayInside) {
  Request o = options_for(Precision::fp16);
  o.output.onnx.external_data_threshold = 4096;
  const Planned p = planned(three_weights(), o);
  EXPECT_EQ(p.plan.tensors[2].name, "bias");
  EXPECT_EQ(p.plan.tensors[2].file, 0u);
  expect_exact(p.plan);
}

// Below the size that the loader leaves in the protobuf: initializers and Constant nodes move, what
// has no place in a data file stays.
TEST(OnnxLayout, ThresholdBelowTheLoadersMovesConstantsToo) {
  Builder b = three_weights();
  b.floats("scalar", {}, {2}).output("p", {2, 1024}).node("Mul", "m", {"y", "scalar"}, {"p"});
  b.floats("four", {4}, {1, 2, 3, 4}).output("f", {4}).node("Relu", "r", {"four"}, {"f"});
  *attribute(b.node("Constant", "", {}, {"c"}), "value", onnx::AttributeProto::TENSOR)
       ->mutable_t() = Builder::tensor("", {2}, onnx::TensorProto::FLOAT, 4);
  b.output("g", {2}).node("Relu", "r2", {"c"}, {"g"});
  b.weight("none", {0}).output("e", {0}).node("Relu", "r3", {"none"}, {"e"});
  Request o = options_for(Precision::fp16);
  const auto inside = [&](uint64_t threshold) {
    o.output.onnx.external_data_threshold = threshold;
    const Planned p = planned(b, o);
    expect_exact(p.plan);
    EXPECT_EQ(complaint(p.model), "");
    std::vector<std::string> names;
    for (const auto& t : p.model.graph().initializer())
      if (t.data_location() != onnx::TensorProto::EXTERNAL) names.push_back(t.name());
    return names;
  };
  using testing::ElementsAre;
  EXPECT_THAT(inside(1024), ElementsAre("scalar", "four", "none"));
  EXPECT_THAT(inside(8), ElementsAre("scalar", "none"));  // of float16: c stays a Constant node
  EXPECT_THAT(inside(0), ElementsAre("none"));
  const Planned p = planned(b, o);
  for (const auto& node : p.model.graph().node()) EXPECT_NE(node.op_type(), "Constant");
  o.output.path = "q.onnx";
  EXPECT_EQ(planned(b, o).plan.files.size(), 1u);
}

TEST(OnnxLayout, OneFile) {
  Request o = options_for(Precision::int4);
  o.output.path = "q.onnx";
  const Planned p = planned(three_weights(), o);
  ASSERT_EQ(p.plan.files.size(), 1u);
  EXPECT_FALSE(p.plan.is_directory);
  EXPECT_EQ(p.plan.files[0].path, "");
  expect_exact(p.plan);
  o.output.max_file_size = 100;
  EXPECT_EQ(refused(three_weights(), o).code, Errc::usage);
}

TEST(OnnxLayout, FilesAreSplitAtTheLimit) {
  Request o = options_for(Precision::fp16);
  o.output.max_file_size = 1u << 20;
  const Planned p = planned(three_weights(), o);
  ASSERT_EQ(p.plan.files.size(), 4u);
  EXPECT_EQ(p.plan.files[2].path, "model.onnx.data.1");
  EXPECT_EQ(p.plan.files[1].size_bytes, 1u << 20);
  EXPECT_EQ(p.plan.files[2].size_bytes, 2u << 20);  // one tensor cannot be split
  expect_exact(p.plan);
}

TEST(OnnxLayout, SameBytesEachTime) {
  const Planned a = planned(three_weights(), options_for(Precision::int4)),
                b = planned(three_weights(), options_for(Precision::int4));
  ASSERT_EQ(a.plan.files[0].literals.size(), b.plan.files[0].literals.size());
  for (size_t i = 0; i < a.plan.files[0].literals.size(); ++i)
    EXPECT_EQ(a.plan.files[0].literals[i].bytes, b.plan.files[0].literals[i].bytes);
}

TEST(OnnxLayout, NamesMetadataAndUnknownFieldsSurvive) {
  Builder b = three_weights();
  b.model.set_doc_string("doc");
  b.graph->mutable_node(2)->set_doc_string("node doc");
  auto* entry = b.model.add_metadata_props();
  entry->set_key("author");
  entry->set_value("me");
  const std::string field_4242 =
      "\x92\x89\x02\x06"
      "future";  // tag, length, bytes
  b.model.mutable_unknown_fields()->append(field_4242);
  Builder::value(b.graph->add_value_info(), "h", onnx::TensorProto::FLOAT, {2, 1024});
  const Planned p = planned(b, options_for(Precision::int4));
  EXPECT_EQ(p.model.doc_string(), "doc");
  EXPECT_EQ(p.model.graph().node(2).doc_string(), "node doc");
  EXPECT_EQ(p.model.metadata_props(0).key(), "author");
  EXPECT_EQ(p.model.unknown_fields(), field_4242);
  EXPECT_EQ(p.model.graph().value_info(0).name(), "h");
}

TEST(OnnxLayout, InitializersThatWereInputsLeaveTheInputs) {
  Builder b(11, 3);
  b.input("x", {2, 64})
      .input("w", {64, 32})
      .output("y", {2, 32})
      .weight("w", {64, 32})
      .node("MatMul", "fc", {"x", "w"}, {"y"});
  const Planned p = planned(b, options_for(Precision::int4));
  ASSERT_EQ(p.model.graph().input_size(), 1);
  EXPECT_EQ(p.model.graph().input(0).name(), "x");
}

}  // namespace
}  // namespace phiquant::test
