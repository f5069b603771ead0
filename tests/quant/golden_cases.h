// The cases of tests/data/golden: weights and the bytes that ONNX Runtime's quantizers made of them
// (tests/data/golden/make_blocks.py says how they lie in the files).
#pragma once

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "quant/block_run.h"

namespace phiquant::test {

struct GoldenCase {
  SchemeParams params;
  std::string dtype, matrix;
  size_t k = 0, n = 0;
  std::string codes, scales, zero_points;
};

inline std::string read_golden(const std::string& name) {
  std::ifstream file(PHIQUANT_TEST_DATA "/golden/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

// `name`: "blocks/rtn".
inline std::vector<GoldenCase> read_cases(const std::string& name) {
  std::istringstream in(read_golden(name + ".gold"));
  std::vector<GoldenCase> cases;
  for (std::string line; std::getline(in, line);) {
    GoldenCase c;
    std::istringstream fields(line);
    fields >> c.params.bits >> c.params.block_size >> c.params.symmetric >> c.dtype >> c.matrix >>
        c.k >> c.n >> c.params.iterations;  // those only for iterative schemes, else 0
    c.params.weight_dtype = c.dtype == "f16"    ? DType::f16
                            : c.dtype == "bf16" ? DType::bf16
                                                : DType::f32;
    for (std::string* blob : {&c.codes, &c.scales, &c.zero_points}) {
      uint32_t size = 0;
      in.read(reinterpret_cast<char*>(&size), 4);
      blob->resize(size);
      in.read(blob->data(), size);
    }
    EXPECT_TRUE(in) << name << ".gold: truncated in case '" << line << "'";
    cases.push_back(std::move(c));
  }
  return cases;
}

inline Weight read_weight(const GoldenCase& c) {
  const char* rows = c.matrix == "a"   ? "168x21"
                     : c.matrix == "b" ? "280x18"
                     : c.matrix == "c" ? "104x19"
                                       : "48x19";
  const std::string bytes = read_golden("blocks/" + c.matrix + "_" + rows + ".f32");
  Weight w{c.k, c.n, std::vector<float>(c.k * c.n)};
  EXPECT_GE(bytes.size(), w.x.size() * 4);
  std::memcpy(w.x.data(), bytes.data(), w.x.size() * 4);
  for (float& v : w.x) {
    if (c.params.weight_dtype == DType::f16) v = f32_from_f16(f16_from_f32(v));
    if (c.params.weight_dtype == DType::bf16) v = f32_from_bf16(bf16_from_f32(v));
  }
  return w;
}

}  // namespace phiquant::test
