// A temporary folder of models and what load_onnx says of them.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "model/onnx/loader.h"
#include "wire/onnx_models.h"

namespace phiquant::test {

namespace fs = std::filesystem;
using Entries = std::vector<std::pair<std::string, std::string>>;

class ModelFolder : public testing::Test {
 protected:
  ModelFolder() {
    std::string name = (fs::temp_directory_path() / "phiquant_loader_XXXXXX").string();
    dir = fs::canonical(::mkdtemp(name.data()));
  }
  ~ModelFolder() override { fs::remove_all(dir); }

  void write(const fs::path& path, const std::string& bytes) const {
    fs::create_directories((dir / path).parent_path());
    std::ofstream(dir / path, std::ios::binary) << bytes;
  }
  void write(const fs::path& path, const onnx::ModelProto& model) const {
    write(path, serialize(model));
  }

  // The error of loading `path`, with the folder's name taken out of the message.
  Error error_of(const fs::path& path, bool follow_symlinks = false) const {
    OnnxLoadOptions options;
    options.follow_symlinks = follow_symlinks;
    auto out = load_onnx(dir / path, options);
    if (out) return {Errc::io, "accepted"};
    Error e = std::move(out).error();
    for (size_t at; (at = e.message.find(dir.string())) != std::string::npos;)
      e.message.replace(at, dir.string().size(), "DIR");
    return e;
  }
  void expect_error(const fs::path& path, Errc code, const std::string& message) const {
    const Error e = error_of(path);
    EXPECT_EQ(e.message, message);
    EXPECT_EQ(e.code, code);
  }

  fs::path dir;
};

// float32 [256]: 1024 bytes, external.
inline onnx::ModelProto external_model(const Entries& entries) {
  onnx::ModelProto m = empty_model();
  set_external(*m.mutable_graph()->add_initializer(), "w", onnx::TensorProto::FLOAT, {256},
               entries);
  return m;
}

}  // namespace phiquant::test
