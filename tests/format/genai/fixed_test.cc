// Plain models of one sequence length, and the target that takes nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include <onnx/onnx_pb.h>

#include "format/genai/genai_checkpoint.h"
#include "format/onnx/onnx_builder.h"
#include "format/plans.h"

namespace phiquant::format {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

Request npu(Precision precision) {
  Request o = request(precision, Target::qnn);
  o.output.onnx.sequence_length = 80;  // past the original context: long rope factors
  return o;
}

std::string refusal(const Request& o) {
  const auto plan = plan_checkpoint(small_checkpoint(), o);
  EXPECT_FALSE(plan.has_value());
  if (plan.has_value()) return "";
  EXPECT_EQ(plan.error().code, Errc::usage);
  return plan.error().message;
}

std::vector<int64_t> dims_of(const onnx::ValueInfoProto& value) {
  std::vector<int64_t> out;
  for (const auto& d : value.type().tensor_type().shape().dim())
    out.push_back(d.has_dim_value() ? d.dim_value() : -1);
  return out;
}

TEST(FixedShapes, NothingIsLeftOpen) {
  const auto plan = plan_checkpoint(small_checkpoint(), npu(Precision::int4));
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  std::set<std::string> files;
  for (const OutFile& file : plan->files) files.insert(file.path);
  EXPECT_THAT(files, Not(Contains("genai_config.json")));
  const onnx::ModelProto model = test::written(*plan);
  const auto& graph = model.graph();
  EXPECT_EQ(dims_of(graph.input(0)), (std::vector<int64_t>{1, 80}));
  EXPECT_EQ(dims_of(graph.output(0)), (std::vector<int64_t>{1, 80, 128}));
  std::set<std::string> ops;
  for (const auto& node : graph.node()) ops.insert(node.op_type());
  for (const char* op : {"Shape", "Where", "Range", "If", "Slice"})
    EXPECT_THAT(ops, Not(Contains(op)));
  for (const auto& tensor : graph.initializer()) {
    if (tensor.name() == "attention_mask") {
      EXPECT_THAT(tensor.dims(), ::testing::ElementsAre(80, 80));
    } else if (tensor.name() == "cos_cache") {
      EXPECT_THAT(tensor.dims(), ::testing::ElementsAre(80, 16));
    }
  }
}

TEST(FixedShapes, TheNpuGetsFourBitsOrFloats) {
  const auto plan = plan_checkpoint(small_checkpoint(), npu(Precision::int4));
  ASSERT_TRUE(plan.has_value());
  for (const PlanRow& row : plan->rows) {
    if (row.role == "lm_head") {
      EXPECT_EQ(row.action, "cast");
      EXPECT_THAT(row.reason, HasSubstr("qnn has no 8-bit weights"));
    }
    EXPECT_NE(row.bits, 8u) << row.tensor;
  }
  const onnx::ModelProto model = test::written(*plan);
  for (const auto& node : model.graph().node())
    if (node.op_type() == "MatMulNBits")
      for (const auto& a : node.attribute()) {
        EXPECT_NE(a.name(), "accuracy_level");
        EXPECT_TRUE(a.name() != "bits" || a.i() == 4);
      }
}

TEST(FixedShapes, WhatTheNpuCannotRunIsRefused) {
  Request o = npu(Precision::int8);
  EXPECT_THAT(refusal(o), HasSubstr("qnn: int4, fp16"));
  o = npu(Precision::int4);
  o.output.onnx.sequence_length.reset();
  EXPECT_THAT(refusal(o), HasSubstr("--sequence-length N"));
  o = npu(Precision::int4);
  o.output.format = OutputFormat::genai;
  EXPECT_THAT(refusal(o), HasSubstr("calibration data"));
  o = npu(Precision::int4);
  o.output.onnx.style = Style::qdq;
  EXPECT_THAT(refusal(o), HasSubstr("calibration data"));
  o = npu(Precision::int4);
  o.recipe.block_size = 128;
  EXPECT_THAT(refusal(o), HasSubstr("blocks of 32 or 64"));
  o = npu(Precision::int4);
  o.recipe.symmetric = false;
  EXPECT_THAT(refusal(o), HasSubstr("symmetric"));
  o = npu(Precision::int4);
  o.recipe.lm_head = TableBits::int8;
  EXPECT_THAT(refusal(o), HasSubstr("no 8-bit weights"));
  o = npu(Precision::fp16);
  o.output.onnx.sequence_length = 257;
  EXPECT_THAT(refusal(o), HasSubstr("context is 256 tokens"));
}

TEST(FixedShapes, AreForPlainModels) {
  Request o = npu(Precision::int4);
  o.output.onnx.target = Target::cpu;
  EXPECT_THAT(refusal(o), HasSubstr("only for --format onnx and --target qnn"));
  o.output.format = OutputFormat::onnx;
  o.output.onnx.style = Style::qdq;
  const auto plan = plan_checkpoint(small_checkpoint(), o);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  EXPECT_EQ(dims_of(test::written(*plan).graph().input(0)), (std::vector<int64_t>{1, 80}));
}

TEST(FixedShapes, TheUserHearsWhatIsSlow) {
  Request o = npu(Precision::fp32);
  o.output.onnx.target = Target::cuda;
  o.output.onnx.sequence_length.reset();
  const auto plan = plan_checkpoint(small_checkpoint(), o);
  ASSERT_TRUE(plan.has_value());
  EXPECT_THAT(plan->warnings, Contains(HasSubstr("no float32 attention for CUDA")));
  o.recipe.precision = Precision::fp16;
  const auto half = plan_checkpoint(small_checkpoint(), o);
  ASSERT_TRUE(half.has_value());
  EXPECT_THAT(half->warnings, ::testing::IsEmpty());
}

}  // namespace
}  // namespace phiquant::format
