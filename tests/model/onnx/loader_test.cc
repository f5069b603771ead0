// load_onnx on files and folders: payloads, versions, what is not ONNX.
#include "model/onnx/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/checkpoint/model_folder.h"

namespace phiquant {
namespace {

using namespace test;
using T = onnx::TensorProto;

class OnnxLoader : public ModelFolder {};

TEST_F(OnnxLoader, InlinePayloadsAreRangesOfTheFile) {
  const onnx::ModelProto rich = rich_model();
  write("m.onnx", rich);
  const auto m = load_onnx(dir / "m.onnx");
  ASSERT_TRUE(m.has_value()) << m.error().message;
  EXPECT_EQ(m->path, dir / "m.onnx");
  EXPECT_EQ(m->files, std::vector<fs::path>{dir / "m.onnx"});
  EXPECT_EQ(m->input_bytes, fs::file_size(dir / "m.onnx"));
  std::vector<std::string> want, got;
  for_each_tensor(rich, [&](const T& t) { want.push_back(t.raw_data()); });
  for_each_tensor(m->proto, [&](const T& t) {
    const auto index = payload_index(t);
    if (index) {
      EXPECT_EQ(m->payloads.at(*index).file, 0u);
    }
    got.push_back(index ? read_all(*m->payloads.at(*index).source.bytes) : t.raw_data());
  });
  EXPECT_EQ(got, want);
}

TEST_F(OnnxLoader, ConstantsAreCalledAfterTheirOutput) {
  write("m.onnx", rich_model());
  const auto m = load_onnx(dir / "m.onnx");
  ASSERT_TRUE(m.has_value());
  std::vector<std::string> names;
  for (const Payload& p : m->payloads) names.push_back(p.source.name);
  EXPECT_THAT(names, testing::Contains("c"));
  EXPECT_THAT(names, testing::Contains("fc"));
}

TEST_F(OnnxLoader, FoldersHoldOneModel) {
  fs::create_directory(dir / "f");
  expect_error("f", Errc::io, "DIR/f: no .onnx file in this folder");
  write("f/b.onnx", empty_model());
  EXPECT_EQ(load_onnx(dir / "f")->path, dir / "f/b.onnx");
  write("f/a.onnx", empty_model());
  expect_error("f", Errc::usage,
               "DIR/f: 2 .onnx files and none is model.onnx (name one: a.onnx, b.onnx)");
  write("f/model.onnx", empty_model());
  EXPECT_EQ(load_onnx(dir / "f")->path, dir / "f/model.onnx");
  EXPECT_EQ(error_of("nowhere").code, Errc::io);
}

TEST_F(OnnxLoader, WhatIsNotOnnxIsNamed) {
  const std::string safetensors = std::string("\x40\0\0\0\0\0\0\0", 8) + "{\"w\":{}}";
  struct {
    std::string bytes, message;
  } const cases[] = {
      {"", "the file is empty (incomplete download?)"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
       "this is a Git LFS pointer, not the model (run `git lfs pull`)"},
      {"\n<!DOCTYPE html><html>",
       "this is an HTML page, not the model (a download that ended at a login or error page?)"},
      {"<html>",
       "this is an HTML page, not the model (a download that ended at a login or error page?)"},
      {safetensors, "this is a safetensors file (wanted an ONNX model)"},
      {"GGUF\x03", "this is a GGUF file (wanted an ONNX model)"},
      {"PK\x03\x04zip",
       "this is a zip archive, perhaps a PyTorch checkpoint (unpack it, or export the model to "
       "ONNX)"},
      {"\x80\x02}q",
       "this is a Python pickle, perhaps a PyTorch checkpoint (export the model to ONNX)"},
      {std::string("\x18\0\0\0ORTM", 8),
       "this is a model in ONNX Runtime's ORT format (wanted the ONNX model that it was made "
       "from)"},
      {std::string("\x1c\0\0\0TFL3", 8),
       "this is a TensorFlow Lite model (export the model to ONNX)"},
      {"\x1f\x8bgzip", "this is a gzip file (unpack it first)"},
      {"<?xml version=\"1.0\"?>",
       "this is an XML file, perhaps OpenVINO IR (wanted an ONNX model)"},
      {"< ir", "field 7 ends a group that never began"},
      {"<ir_version: 8>", "this is ONNX in text form (save it in binary form, with onnx.save)"},
      {"ir_version: 8\n", "this is ONNX in text form (save it in binary form, with onnx.save)"},
      {"{\"a\": 1}", "this is a JSON file (wanted an ONNX model)"},
  };
  for (const auto& c : cases) {
    write("m.onnx", c.bytes);
    const Error e = error_of("m.onnx");
    EXPECT_EQ(e.code, Errc::corrupt) << c.message;
    EXPECT_THAT(e.message, testing::HasSubstr(c.message));
  }
  write("m.onnx", "<html>");
  expect_error("m.onnx", Errc::corrupt,
               "DIR/m.onnx: this is an HTML page, not the model (a download that ended at a login "
               "or error page?)");
}

TEST_F(OnnxLoader, AProducerMayBeCalledLikeASignature) {
  for (const char* name : {"ORTM", "TFL3"}) {
    onnx::ModelProto m = empty_model();
    m.set_producer_name(name);
    write("m.onnx", m);
    EXPECT_EQ(error_of("m.onnx").message, "accepted");
  }
}

TEST_F(OnnxLoader, Versions) {
  const auto with = [&](auto change) {
    onnx::ModelProto m = empty_model();
    change(m);
    write("m.onnx", m);
  };
  with([](auto& m) { m.clear_graph(); });
  expect_error("m.onnx", Errc::corrupt, "DIR/m.onnx: the graph is missing (incomplete download?)");
  with([](auto& m) { m.clear_ir_version(); });
  expect_error("m.onnx", Errc::corrupt, "DIR/m.onnx: ir_version is missing");
  with([](auto& m) {
    m.clear_graph();
    m.clear_ir_version();
  });
  expect_error("m.onnx", Errc::corrupt,
               "DIR/m.onnx: not an ONNX model: neither a graph nor an ir_version");
  with([](auto& m) { m.clear_opset_import(); });
  expect_error("m.onnx", Errc::corrupt,
               "DIR/m.onnx: opset_import is missing (incomplete download?)");
  with([](auto& m) { m.set_ir_version(15); });
  expect_error("m.onnx", Errc::unsupported,
               "DIR/m.onnx: ir_version 15 is newer than the newest known, 14");
  with([](auto& m) { m.mutable_opset_import(0)->set_version(999); });
  EXPECT_THAT(error_of("m.onnx").message,
              testing::MatchesRegex(
                  "DIR/m.onnx: opset 999 of ai.onnx is newer than the newest known, 2[0-9]"));
  EXPECT_EQ(error_of("m.onnx").code, Errc::unsupported);
  with([](auto& m) { m.mutable_opset_import(0)->set_version(0); });
  expect_error("m.onnx", Errc::corrupt, "DIR/m.onnx: opset 0 of ai.onnx is not a version");
  with([](auto& m) {
    m.mutable_opset_import(0)->set_domain("ai.onnx");
    auto* o = m.add_opset_import();
    o->set_domain("com.example");
    o->set_version(4000);
  });
  EXPECT_EQ(error_of("m.onnx").message, "accepted");
}

TEST_F(OnnxLoader, TruncatedAtAnyByte) {
  onnx::ModelProto m = rich_model();
  // Short enough to write every prefix of it to a file: one large tensor in the graph, one in the
  // function.
  auto& g = *m.mutable_graph();
  g.mutable_initializer()->DeleteSubrange(2, g.initializer_size() - 2);
  g.clear_sparse_initializer();
  g.clear_node();
  m.clear_training_info();
  g.mutable_initializer(0)->mutable_dims()->Set(0, 8);
  g.mutable_initializer(0)->mutable_raw_data()->resize(1024);
  const std::string bytes = serialize(m);
  ASSERT_LT(bytes.size(), 4000u);
  size_t n_accepted = 0;
  write("m.onnx", bytes);
  for (size_t n = bytes.size(); n-- > 0;) {
    fs::resize_file(dir / "m.onnx", n);
    const Error e = error_of("m.onnx");
    if (e.message == "accepted")
      ++n_accepted;
    else
      ASSERT_EQ(e.code, Errc::corrupt) << n << ": " << e.message;
  }
  // Without its metadata, its function or its unknown fields, a model is still one.
  EXPECT_EQ(n_accepted, 4u);
}

}  // namespace
}  // namespace phiquant
