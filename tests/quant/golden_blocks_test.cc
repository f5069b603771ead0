// Every scheme against the bytes that ONNX Runtime's own quantizers wrote
// (tools/make_golden_blocks.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include "block_run.h"
#include "simd_targets.h"

namespace phiquant::test {
namespace {

struct Case {
  SchemeParams params;
  std::string dtype, matrix;
  size_t k = 0, n = 0;
  std::string codes, scales, zero_points;
};

std::string read_file(const std::string& name) {
  std::ifstream file(PHIQUANT_TEST_DATA "/golden/blocks/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<Case> read_cases(const std::string& scheme) {
  std::istringstream in(read_file(scheme + ".gold"));
  std::vector<Case> cases;
  for (std::string line; std::getline(in, line);) {
    Case c;
    std::istringstream fields(line);
    fields >> c.params.bits >> c.params.block_size >> c.params.symmetric >> c.dtype >> c.matrix >>
        c.k >> c.n;
    c.params.weight_dtype = c.dtype == "f16"    ? DType::f16
                            : c.dtype == "bf16" ? DType::bf16
                                                : DType::f32;
    for (std::string* blob : {&c.codes, &c.scales, &c.zero_points}) {
      uint32_t size = 0;
      in.read(reinterpret_cast<char*>(&size), 4);
      blob->resize(size);
      in.read(blob->data(), size);
    }
    EXPECT_TRUE(in) << scheme << ".gold: truncated in case '" << line << "'";
    cases.push_back(std::move(c));
  }
  return cases;
}

Weight read_weight(const Case& c) {
  const char* rows = c.matrix == "a"   ? "168x21"
                     : c.matrix == "b" ? "280x18"
                     : c.matrix == "c" ? "104x19"
                                       : "48x19";
  const std::string bytes = read_file(c.matrix + "_" + rows + ".f32");
  Weight w{c.k, c.n, std::vector<float>(c.k * c.n)};
  EXPECT_GE(bytes.size(), w.x.size() * 4);
  std::memcpy(w.x.data(), bytes.data(), w.x.size() * 4);
  for (float& v : w.x) {
    if (c.params.weight_dtype == DType::f16) v = f32_from_f16(f16_from_f32(v));
    if (c.params.weight_dtype == DType::bf16) v = f32_from_bf16(bf16_from_f32(v));
  }
  return w;
}

void expect_same(const std::string& got, const std::string& want, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  size_t differ = 0, first = want.size();
  for (size_t i = 0; i < want.size(); ++i)
    if (got[i] != want[i] && ++differ == 1) first = i;
  EXPECT_EQ(differ, 0u)
      << what << ": first differing byte " << first << " of " << want.size() << ": "
      << static_cast<int>(static_cast<uint8_t>(got[std::min(first, got.size() - 1)]))
      << ", peer has "
      << static_cast<int>(static_cast<uint8_t>(want[std::min(first, want.size() - 1)]));
}

class GoldenBlocks : public testing::TestWithParam<const char*> {
 protected:
  void check(BlockEncode encode, const std::string& who) {
    for (const Case& c : cases_) {
      SCOPED_TRACE(who + ": " + GetParam() + " " + std::to_string(c.params.bits) + " bits, block " +
                   std::to_string(c.params.block_size) +
                   (c.params.symmetric ? ", symmetric, " : ", asymmetric, ") + c.dtype +
                   ", matrix " + c.matrix + " " + std::to_string(c.k) + "x" + std::to_string(c.n));
      const Encoded e =
          encode_weight(*scheme_, encode, c.params, read_weight(c), !c.zero_points.empty());
      expect_same(e.scales, c.scales, "scales");
      expect_same(e.zero_points, c.zero_points, "zero points");
      expect_same(e.codes, c.codes, "codes");
    }
  }
  const Scheme* scheme_ = find_block_scheme(GetParam());
  std::vector<Case> cases_ = read_cases(GetParam());
};

TEST_P(GoldenBlocks, ReferenceGivesThePeersBytes) {
  ASSERT_NE(scheme_, nullptr);
  ASSERT_GE(cases_.size(), 10u);
  check(scheme_->encode_ref, "reference");
}

TEST_P(GoldenBlocks, EveryTargetGivesThePeersBytes) {
  ASSERT_NE(scheme_, nullptr);
  for_each_target([&](const std::string& target) { check(scheme_->encode, target); });
}

INSTANTIATE_TEST_SUITE_P(Schemes, GoldenBlocks,
                         testing::Values("matmul_nbits", "rtn", "k_quant", "qdq", "gather"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace phiquant::test
