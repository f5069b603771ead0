// Int8Job over a weight that is stored as blocks: the same bytes as over the floats that the
// blocks stand for.
#include <gtest/gtest.h>

#include "pipeline/plan_fixture.h"
#include "pipeline/tile_reader.h"

namespace phiquant {
namespace {

using namespace phiquant::testing;

constexpr size_t kK = 300, kN = 130, kBlock = 32, kBlocks = (kK + kBlock - 1) / kBlock;

WeightSource random_blocks(Packing packing, unsigned bits) {
  std::mt19937 random(5);
  BlockStorage blocks;
  blocks.packing = packing;
  blocks.bits = bits;
  blocks.block_size = kBlock;
  blocks.default_zero_point = 1 << (bits - 1);
  const size_t values = packing == Packing::nbits ? kN * kBlocks * kBlock : kN * kK;
  std::string codes(values * bits / 8, '\0'), scales(kN * kBlocks * 4, '\0');
  for (char& c : codes) c = static_cast<char>(random());
  for (size_t i = 0; i < kN * kBlocks; ++i) {
    const float scale = 0.001f * static_cast<float>(1 + random() % 100);
    std::memcpy(&scales[i * 4], &scale, 4);
  }
  blocks.codes = {"codes", DType::u8, {codes.size()}, memory_source(codes)};
  blocks.scales = {"scales", DType::f32, {kN * kBlocks}, memory_source(scales)};
  return {"w", kK, kN, blocks};
}

Int8Job int8_of(Plan& plan, WeightSource source, bool per_channel) {
  Int8Job job;
  job.source = std::move(source);
  job.per_channel = per_channel;
  job.codes = add_tensor(plan, DType::i8, {kK, kN});
  job.scales = add_tensor(plan, DType::f32, {per_channel ? kN : 1});
  job.zero_points = add_tensor(plan, DType::i8, {per_channel ? kN : 1});
  return job;
}

class Int8OfBlocks : public ::testing::TestWithParam<std::tuple<Packing, unsigned, bool>> {};

TEST_P(Int8OfBlocks, EqualsInt8OfTheFloats) {
  const auto [packing, bits, per_channel] = GetParam();
  const WeightSource blocks = random_blocks(packing, bits);
  std::vector<float> x(kK * kN);
  TileReader reader;
  ASSERT_TRUE(reader.begin(blocks, {0, kK, 0, kN}));
  ASSERT_TRUE(reader.tile(0, kK, x.data()));
  // Codes packed along K stand for an [N, K] tensor, except MatMulNBits'.
  const Orientation orientation = packing == Packing::n_major ? Orientation::nk : Orientation::kn;
  Plan plan;
  const Int8Job got = int8_of(plan, blocks, per_channel);
  const Int8Job want = int8_of(plan, dense_weight(x, kK, kN, DType::f32, orientation), per_channel);
  plan.jobs = {got, want};
  for (const ExecuteOptions& options : {ExecuteOptions{1, 0, true}, ExecuteOptions{4, 1, true}}) {
    const RunResult result = run(plan, options);
    ASSERT_TRUE(result.result) << result.result.error().message;
    EXPECT_EQ(result.tensor(plan, got.codes), result.tensor(plan, want.codes));
    EXPECT_EQ(result.tensor(plan, got.scales), result.tensor(plan, want.scales));
    EXPECT_EQ(result.tensor(plan, got.zero_points), result.tensor(plan, want.zero_points));
    ASSERT_TRUE(result.result->errors[0]);
    EXPECT_GT(result.result->errors[0]->sqnr_db, 20);  // 8 bits of numbers of one magnitude
  }
}

INSTANTIATE_TEST_SUITE_P(Sources, Int8OfBlocks,
                         ::testing::Combine(::testing::Values(Packing::nbits, Packing::k_major,
                                                              Packing::n_major),
                                            ::testing::Values(4u, 8u), ::testing::Bool()));

}  // namespace
}  // namespace phiquant
