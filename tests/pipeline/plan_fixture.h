// Small weights, plans over them, and a folder to run them in.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/atomic_output.h"
#include "core/half.h"
#include "core/input_file.h"
#include "format/plan.h"
#include "pipeline/execute.h"

namespace phiquant::testing {

// K x N values with every kind of block: zeros, ties, outliers, tiny, one-signed, ordinary.
inline std::vector<float> hard_values(size_t k, size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> x(k * n);
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = 0; j < n; ++j) {
      float v = normal(random);
      switch ((j + i / 16) % 7) {
        case 1:
          v = 0;
          break;
        case 2:
          v = std::round(v * 64) / 128;
          break;
        case 3:
          v = i % 16 == 5 ? 9.f : v;
          break;
        case 4:
          v *= 1e-6f;
          break;
        case 5:
          v = std::abs(v) + 0.01f;
          break;
        default:
          break;
      }
      x[i * n + j] = v;
    }
  }
  return x;
}

// The values as `dtype`, in the given orientation; `x` is K x N and is rounded to what was stored.
inline WeightSource dense_weight(std::vector<float>& x, size_t k, size_t n, DType dtype,
                                 Orientation orientation) {
  const size_t size = dtype_bits(dtype) / 8;
  std::string bytes(k * n * size, '\0');
  for (size_t i = 0; i < k; ++i) {
    for (size_t j = 0; j < n; ++j) {
      float& v = x[i * n + j];
      const size_t at = (orientation == Orientation::kn ? i * n + j : j * k + i) * size;
      if (dtype == DType::f32) {
        std::memcpy(&bytes[at], &v, 4);
        continue;
      }
      const uint16_t h = dtype == DType::f16 ? f16_from_f32(v) : bf16_from_f32(v);
      v = dtype == DType::f16 ? f32_from_f16(h) : f32_from_bf16(h);
      std::memcpy(&bytes[at], &h, 2);
    }
  }
  const Shape shape = orientation == Orientation::kn ? Shape{k, n} : Shape{n, k};
  return {"w", k, n,
          DenseStorage{{"w", dtype, shape, memory_source(std::move(bytes))}, orientation}};
}

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "phiquant-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Adds a tensor behind the last one, at an odd but fixed alignment so that blocks of the file are
// shared.
inline TensorId add_tensor(Plan& plan, DType dtype, Shape shape) {
  if (plan.files.empty()) plan.files.push_back({"data", 0, {}});
  OutTensor tensor{std::string("t").append(std::to_string(plan.tensors.size())),
                   dtype,
                   shape,
                   *tensor_bytes(dtype, shape),
                   0,
                   plan.files[0].size_bytes};
  plan.files[0].size_bytes += (tensor.size_bytes + 63) / 64 * 64;
  plan.tensors.push_back(tensor);
  return static_cast<TensorId>(plan.tensors.size() - 1);
}

struct RunResult {
  Result<ExecuteResult> result;
  std::string bytes;  // of the one output file, empty where execute failed
  std::string tensor(const Plan& plan, TensorId id) const {
    return bytes.substr(plan.tensors[id].offset, plan.tensors[id].size_bytes);
  }
};

inline RunResult run(const Plan& plan, const ExecuteOptions& options) {
  const TempFolder folder;
  std::vector<OutputFileSpec> files;
  for (const OutFile& f : plan.files) files.push_back({f.path, f.size_bytes});
  auto output = AtomicOutput::create(folder.path() / "out", files, {});
  if (!output) return {std::move(output).error(), ""};
  RunResult r{execute(plan, **output, options, {}), ""};
  if (!r.result || !(*output)->commit()) return r;
  std::ifstream in(folder.path() / "out" / "data", std::ios::binary);
  r.bytes.assign(std::istreambuf_iterator<char>(in), {});
  return r;
}

}  // namespace phiquant::testing
