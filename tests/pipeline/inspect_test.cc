// inspect(): tensors of all scopes, their readers, and what can be quantized.
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "phiquant/phiquant.h"
#include "wire/onnx_models.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;
using namespace test;
using T = onnx::TensorProto;
using testing::ElementsAre;
using testing::Pair;

class Inspect : public testing::Test {
 protected:
  Inspect() {
    std::string name = (fs::temp_directory_path() / "phiquant_inspect_XXXXXX").string();
    dir = ::mkdtemp(name.data());
  }
  ~Inspect() override { fs::remove_all(dir); }

  InspectReport inspect_model(const onnx::ModelProto& m) const {
    std::ofstream(dir / "m.onnx", std::ios::binary) << serialize(m);
    auto report = inspect(dir / "m.onnx");
    EXPECT_TRUE(report.has_value()) << report.error().message;
    return std::move(report).value();
  }
  // name -> {first reader, what can be made of it}
  static std::map<std::string, std::pair<std::string, std::string>> uses(
      const InspectReport& report) {
    std::map<std::string, std::pair<std::string, std::string>> out;
    for (const InspectTensor& t : report.tensors) out[t.name] = {t.used_by, t.quantizable};
    return out;
  }

  fs::path dir;
};

TEST_F(Inspect, QuantizableFollowsReaderAndDtype) {
  onnx::ModelProto m = empty_model();
  auto& g = *m.mutable_graph();
  set_raw(*g.add_initializer(), "linear", T::FLOAT, {16, 16});
  set_raw(*g.add_initializer(), "linear_fp16", T::FLOAT16, {16, 16});
  set_raw(*g.add_initializer(), "behind_cast", T::BFLOAT16, {16, 16});
  set_raw(*g.add_initializer(), "behind_transpose", T::FLOAT, {16, 16});
  set_raw(*g.add_initializer(), "batched", T::FLOAT, {2, 16, 16});
  set_raw(*g.add_initializer(), "left", T::FLOAT, {16, 16});
  set_raw(*g.add_initializer(), "gemm", T::FLOAT, {16, 16});
  set_raw(*g.add_initializer(), "bias", T::FLOAT, {16});
  set_raw(*g.add_initializer(), "table", T::FLOAT, {16, 16});
  set_raw(*g.add_initializer(), "index", T::INT64, {4});
  set_raw(*g.add_initializer(), "kernel", T::FLOAT, {4, 4, 3, 3});
  set_raw(*g.add_initializer(), "codes", T::UINT8, {16, 1, 16});
  set_raw(*g.add_initializer(), "scales", T::FLOAT, {16});
  set_raw(*g.add_initializer(), "unread", T::FLOAT, {4});
  add_node(g, "MatMul", {"x", "linear"}, {"a"});
  add_node(g, "MatMul", {"x", "linear_fp16"}, {"b"});
  add_node(g, "Cast", {"behind_cast"}, {"cast"});
  add_node(g, "MatMul", {"x", "cast"}, {"c"});
  add_node(g, "Transpose", {"behind_transpose"}, {"turned"});
  add_node(g, "MatMul", {"x", "turned"}, {"d"});
  add_node(g, "MatMul", {"x", "batched"}, {"e"});
  add_node(g, "MatMul", {"left", "x"}, {"f"});
  add_node(g, "Gemm", {"x", "gemm", "bias"}, {"h"});
  add_node(g, "Gather", {"table", "index"}, {"i"});
  add_node(g, "Conv", {"x", "kernel"}, {"j"});
  add_node(g, "MatMulNBits", {"x", "codes", "scales"}, {"k"})->set_domain("com.microsoft");
  const auto report = inspect_model(m);
  const std::map<std::string, std::pair<std::string, std::string>> want = {
      {"linear", {"MatMul", "int4 int8 fp16 bf16"}},
      {"linear_fp16", {"MatMul", "int4 int8 bf16 fp32"}},
      {"behind_cast", {"Cast", "int4 int8 fp16 fp32"}},
      {"behind_transpose", {"Transpose", "int4 int8 fp16 bf16"}},
      {"batched", {"MatMul", "fp16 bf16"}},
      {"left", {"MatMul", "fp16 bf16"}},
      {"gemm", {"Gemm", "int4 int8 fp16 bf16"}},
      {"bias", {"Gemm", "fp16 bf16"}},
      {"table", {"Gather", "int4 int8 fp16 bf16"}},
      {"index", {"Gather", ""}},
      {"kernel", {"Conv", "int8 fp16 bf16"}},
      {"codes", {"MatMulNBits", "fp16 bf16 fp32"}},
      {"scales", {"MatMulNBits", "fp16 bf16"}},
      {"unread", {"", "fp16 bf16"}},
  };
  EXPECT_EQ(uses(report), want);
  EXPECT_THAT(report.ops, ElementsAre(Pair("MatMul", 6), Pair("Cast", 1), Pair("Conv", 1),
                                      Pair("Gather", 1), Pair("Gemm", 1), Pair("Transpose", 1),
                                      Pair("com.microsoft.MatMulNBits", 1)));
}

TEST_F(Inspect, EveryScopeIsRead) {
  onnx::ModelProto m = rich_model();
  auto& g = *m.mutable_graph();
  // The branch reads a weight of its own, one of the graph around it, and a constant of that graph.
  auto& branch = *g.mutable_node(1)->mutable_attribute(0)->mutable_g();
  add_node(branch, "MatMul", {"x", "inner"}, {"p"});
  add_node(branch, "MatMul", {"x", "w"}, {"q"});
  add_node(branch, "Add", {"q", "c"}, {"r"});
  const auto report = inspect_model(m);
  const auto all = uses(report);
  EXPECT_EQ(all.at("inner"), std::pair(std::string("MatMul"), std::string("int4 int8 fp16 fp32")));
  EXPECT_EQ(all.at("w"), std::pair(std::string("MatMul"), std::string("int4 int8 fp16 bf16")));
  EXPECT_EQ(all.at("c"), std::pair(std::string("Add"), std::string("")));
  EXPECT_EQ(report.tensors.size(), 16u);
  for (const char* name :
       {"words", "sparse", "t0", "in_graphs", "in_sparse", "default", "fc", "training"})
    EXPECT_TRUE(all.contains(name)) << name;
  EXPECT_THAT(report.ops, testing::Contains(Pair("Constant", 2)));
  EXPECT_THAT(report.ops, testing::Contains(Pair("MatMul", 2)));
  EXPECT_THAT(report.properties,
              testing::IsSupersetOf({Pair("ir_version", "10"), Pair("opset ai.onnx", "21"),
                                     Pair("producer", "test"), Pair("graph", "g"),
                                     Pair("functions", "1"), Pair("metadata k", "v")}));
}

TEST_F(Inspect, SizesLocationsAndTypes) {
  onnx::ModelProto m = empty_model();
  auto& g = *m.mutable_graph();
  set_external(*g.add_initializer(), "far", T::FLOAT, {16, 32}, {{"location", "d/w.bin"}});
  set_raw(*g.add_initializer(), "near", T::INT4, {3, 3});
  fs::create_directory(dir / "d");
  std::ofstream(dir / "d/w.bin") << std::string(2048, 'x');
  add_io(g, "x", true, {1, 16});
  g.mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(0)
      ->set_dim_param("batch");
  add_io(g, "near", true, {3, 3});  // old exporters list initializers as inputs
  add_io(g, "y", false, {});
  g.mutable_output(0)
      ->mutable_type()
      ->mutable_sequence_type()
      ->mutable_elem_type()
      ->mutable_tensor_type()
      ->set_elem_type(T::INT64);
  const auto report = inspect_model(m);
  ASSERT_EQ(report.tensors.size(), 2u);
  EXPECT_EQ(report.tensors[0].location, "d/w.bin");
  EXPECT_EQ(report.tensors[0].size_bytes, 2048u);
  EXPECT_EQ(report.tensors[0].shape, (Shape{16, 32}));
  EXPECT_EQ(report.tensors[1].location, "inline");
  EXPECT_EQ(report.tensors[1].type, "int4");
  EXPECT_EQ(report.tensors[1].size_bytes, 5u);
  EXPECT_EQ(report.size_bytes, fs::file_size(dir / "m.onnx") + 2048);
  EXPECT_EQ(report.format, "onnx");
  EXPECT_EQ(report.path, (dir / "m.onnx").string());
  ASSERT_EQ(report.io.size(), 2u);
  EXPECT_EQ(report.io[0].name + " " + report.io[0].type, "x float32[batch, 16]");
  EXPECT_TRUE(report.io[0].is_input);
  EXPECT_EQ(report.io[1].name + " " + report.io[1].type, "y sequence(int64)");
  EXPECT_FALSE(report.io[1].is_input);
}

TEST_F(Inspect, ErrorsOfTheLoaderComeThrough) {
  const auto report = inspect(dir / "none.onnx");
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, Errc::io);
}

}  // namespace
}  // namespace phiquant
