// Error sums: the same doubles on every target; the specification against sums that are exact.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "quant/kernels.h"
#include "simd_targets.h"

namespace phiquant::test {
namespace {

void expect_identical(const quant::ErrorSums& a, const quant::ErrorSums& b,
                      const std::string& where) {
  EXPECT_EQ(a.signal, b.signal) << where;
  EXPECT_EQ(a.noise, b.noise) << where;
  EXPECT_EQ(a.dot, b.dot) << where;
  EXPECT_EQ(a.approx, b.approx) << where;
  EXPECT_EQ(a.max_abs, b.max_abs) << where;
  EXPECT_EQ(a.n, b.n) << where;
}

TEST(ErrorSums, EveryTargetGivesTheSameDoubles) {
  std::mt19937 random(5);
  const auto value = [&] {
    const int exponent = -static_cast<int>(random() % 40);
    return std::ldexp(static_cast<float>(random() % 20001) - 10000.0f, exponent);
  };
  for_each_target([&](const std::string& target) {
    for (const size_t n_rows : {0u, 1u, 5u, 32u})
      for (const size_t n_cols : {1u, 7u, 8u, 9u, 64u, 131u}) {
        const size_t stride = n_cols + 3;
        std::vector<float> x(n_rows * stride), y(n_rows * stride);
        for (float& v : x) v = value();
        for (float& v : y) v = value();
        quant::ErrorSums got{1, 2, 3, 4, 5, 6}, expected = got;  // sums are added to
        quant::error_sums(x.data(), y.data(), stride, n_rows, n_cols, got);
        quant::error_sums_ref(x.data(), y.data(), stride, n_rows, n_cols, expected);
        expect_identical(got, expected, target);
      }
  });
}

TEST(ErrorSums, WhatIsNotFiniteIsLeftOut) {
  const float inf = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  const float max = std::numeric_limits<float>::max();
  std::vector<float> x(40, 1.0f), y(40, 1.5f);
  x[3] = inf, x[11] = nan, y[20] = -inf, y[21] = nan, x[30] = inf, y[30] = inf;
  x[39] = max, y[39] = -max;
  for_each_target([&](const std::string& target) {
    quant::ErrorSums sums;
    quant::error_sums(x.data(), y.data(), 20, 2, 20, sums);
    const double m = max;
    expect_identical(sums, {34 + m * m, 8.5 + 4 * m * m, 51 - m * m, 76.5 + m * m, 2 * m, 35},
                     target);
    const float ones[] = {1, 1, 1}, saturated[] = {1, inf, 1};  // what an overflowing cast makes
    for (const float* other : {saturated, ones}) {
      quant::ErrorSums one_side;
      quant::error_sums(other == ones ? saturated : ones, other, 3, 1, 3, one_side);
      expect_identical(one_side, {2, 0, 2, 2, 0, 2}, target);
    }
  });
}

TEST(ErrorSums, ReferenceSums) {
  const float x[] = {1, 2, -3}, y[] = {1, 4, -2.5f};
  quant::ErrorSums sums;
  quant::error_sums_ref(x, y, 3, 1, 3, sums);
  expect_identical(sums, {14, 4.25, 16.5, 23.25, 2, 3}, "");
}

}  // namespace
}  // namespace phiquant::test
