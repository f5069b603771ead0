// Every scheme against the bytes that ONNX Runtime's own quantizers wrote
// (tests/data/golden/make_blocks.py).
#include <gtest/gtest.h>

#include <algorithm>

#include "quant/golden_cases.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

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
    for (const GoldenCase& c : cases_) {
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
  std::vector<GoldenCase> cases_ = read_cases(std::string("blocks/") + GetParam());
};

TEST_P(GoldenBlocks, ReferenceGivesThePeersBytes) {
  ASSERT_NE(scheme_, nullptr);
  ASSERT_GE(cases_.size(), 10u);
  check(scheme_->encode_ref, "reference");
}

TEST_P(GoldenBlocks, EverySimdGivesThePeersBytes) {
  ASSERT_NE(scheme_, nullptr);
  for_each_simd([&](const std::string& simd) { check(scheme_->encode, simd); });
}

INSTANTIATE_TEST_SUITE_P(Schemes, GoldenBlocks,
                         testing::Values("matmul_nbits", "rtn", "k_quant", "qdq", "gather"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace phiquant::test
