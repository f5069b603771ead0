// Weights that are turned over while they are cast (MatMul's weights of a checkpoint): what the
// narrower type cannot hold is counted as it is in a plain cast.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "pipeline/plan_fixture.h"
#include "quant/kernels.h"

namespace phiquant {
namespace {

using namespace phiquant::testing;

// [N, K] floats with these values at the front of row 2, as the [K, N] tensor of a graph.
Plan turned(const std::vector<float>& front, DType to) {
  const size_t k = 96, n = 40;
  std::vector<float> x(k * n, 0.5f);
  for (size_t i = 0; i < front.size(); ++i) x[i * n + 2] = front[i];
  Plan plan;
  DecodeJob job;
  job.source = dense_weight(x, k, n, DType::f32, Orientation::nk);
  job.out = add_tensor(plan, to, {k, n});
  plan.jobs.push_back(job);
  return plan;
}

TEST(DecodeCasts, CountsOverflowAndUnderflow) {
  const Plan plan = turned({1e5f, -7e4f, 1e-9f, 65504.0f}, DType::f16);
  for (const bool measured : {true, false}) {
    const RunResult got = run(plan, {1, 0, measured});
    ASSERT_TRUE(got.result);
    ASSERT_TRUE(got.result->errors[0]);
    EXPECT_EQ(got.result->errors[0]->overflowed, 2u);
    EXPECT_EQ(got.result->errors[0]->underflowed, 1u);
    EXPECT_TRUE(got.result->cast_non_finite.empty());
  }
}

TEST(DecodeCasts, NothingToCountIsNoError) {
  const RunResult got = run(turned({65504.0f}, DType::f16), {1, 0, false});
  ASSERT_TRUE(got.result);
  EXPECT_FALSE(got.result->errors[0]);
}

TEST(DecodeCasts, NamesTheFirstThatIsNoNumber) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const DType to : {DType::f16, DType::f32}) {
    const RunResult got = run(turned({1.0f, -inf, NAN}, to), {4, 1, true});
    ASSERT_TRUE(got.result);
    ASSERT_EQ(got.result->cast_non_finite.size(), 1u);
    // Element 1 of row 2 of the checkpoint's tensor.
    EXPECT_EQ(got.result->cast_non_finite[0].flat_index, 2u * 96 + 1);
    EXPECT_EQ(got.result->cast_non_finite[0].value, -inf);
    EXPECT_EQ(got.result->errors[0].has_value() && got.result->errors[0]->overflowed, 0u);
  }
}

void expect_turned(size_t k, size_t n, DType from, DType to) {
  std::vector<float> x = hard_values(k, n, 7);
  Plan plan;
  DecodeJob job;
  job.source = dense_weight(x, k, n, from, Orientation::nk);
  job.out = add_tensor(plan, to, {k, n});
  plan.jobs.push_back(job);
  std::vector<std::byte> expected(k * n * dtype_bits(to) / 8);
  quant::CastStats ignored;
  quant::cast_ref(reinterpret_cast<const std::byte*>(x.data()), DType::f32, k * n, expected.data(),
                  to, job.rule, ignored);
  for (const unsigned threads : {1u, 3u}) {
    const RunResult got = run(plan, {threads, 1, true});
    ASSERT_TRUE(got.result);
    ASSERT_EQ(got.bytes.size() / 64, (expected.size() + 63) / 64);
    EXPECT_EQ(std::memcmp(got.bytes.data(), expected.data(), expected.size()), 0)
        << k << " x " << n << " " << dtype_name(from) << " to " << dtype_name(to);
  }
}

// Several chunks of several tiles, none of them whole, rows of the output on cache lines (n = 160)
// and not, at every pair of dtypes.
TEST(DecodeCasts, TurnsOverEveryShape) {
  constexpr DType kFloats[] = {DType::f32, DType::f16, DType::bf16};
  for (const auto& [k, n] : {std::pair<size_t, size_t>{1001, 160}, {517, 333}, {70, 1}, {3, 700}})
    for (const DType from : kFloats)
      for (const DType to : kFloats) expect_turned(k, n, from, to);
}

}  // namespace
}  // namespace phiquant
