// hqq against ONNX Runtime's HQQWeightOnlyQuantizer (tests/data/golden/make_hqq.py), with the
// number of steps that it took.
#include "quant/golden_cases.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

void expect_peers_bytes(BlockEncode encode, const std::string& who) {
  const Scheme* scheme = find_block_scheme("hqq");
  ASSERT_NE(scheme, nullptr);
  const std::vector<GoldenCase> cases = read_cases("hqq");
  ASSERT_EQ(cases.size(), 16u);
  for (const GoldenCase& c : cases) {
    SCOPED_TRACE(who + ": " + std::to_string(c.params.bits) + " bits, block " +
                 std::to_string(c.params.block_size) + ", " + c.dtype + ", matrix " + c.matrix);
    ASSERT_GT(c.params.iterations, 0u);
    const Encoded e = encode_weight(*scheme, encode, c.params, read_weight(c), true);
    EXPECT_TRUE(e.scales == c.scales);
    EXPECT_TRUE(e.zero_points == c.zero_points);
    EXPECT_TRUE(e.codes == c.codes);
  }
}

TEST(GoldenHqq, ReferenceGivesThePeersBytes) {
  expect_peers_bytes(find_block_scheme("hqq")->encode_ref, "reference");
}

TEST(GoldenHqq, EverySimdGivesThePeersBytes) {
  for_each_simd(
      [](const std::string& simd) { expect_peers_bytes(find_block_scheme("hqq")->encode, simd); });
}

}  // namespace
}  // namespace phiquant::test
