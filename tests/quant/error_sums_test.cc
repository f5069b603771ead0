// Error sums: the same doubles on every SIMD level; the specification against sums that are exact.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "quant/kernels.h"
#include "quant/simd_levels.h"

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

TEST(ErrorSums, EverySimdGivesTheSameDoubles) {
  std::mt19937 random(5);
  const auto value = [&] {
    const int exponent = -static_cast<int>(random() % 40);
    return std::ldexp(static_cast<float>(random() % 20001) - 10000.0f, exponent);
  };
  for_each_simd([&](const std::string& simd) {
    for (const size_t n_rows : {0u, 1u, 5u, 32u, 64u, 165u})
      for (const size_t n_cols : {1u, 7u, 8u, 9u, 16u, 64u, 131u}) {
        const size_t stride = n_cols + 3;
        std::vector<float> x(n_rows * stride), y(n_rows * stride);
        for (float& v : x) v = value();
        for (float& v : y) v = value();
        quant::ErrorSums got{1, 2, 3, 4, 5, 6}, expected = got;  // sums are added to
        quant::error_sums(x.data(), y.data(), stride, n_rows, n_cols, got);
        quant::error_sums_ref(x.data(), y.data(), stride, n_rows, n_cols, expected);
        expect_identical(got, expected, simd);
      }
  });
}

// Codes of any packing: the same doubles on every SIMD level, and those of error_sums() over the
// decoded values.
TEST(ErrorSums, OfCodesAreThoseOfTheDecodedValues) {
  std::mt19937 random(6);
  const auto check = [&](const std::string& simd, Packing packing, unsigned bits, bool is_signed,
                         bool zeros, size_t n_rows, size_t n_cols) {
    const bool packed = packing == Packing::nbits;
    const size_t codes_stride = packed ? (n_rows * bits + 7) / 8 + 4 : n_cols + 3;
    const size_t stride = n_cols + 5;
    // Of exactly the bytes that hold the codes, for the sanitizers to see what is read beyond.
    std::vector<std::byte> codes(packed ? (n_cols - 1) * codes_stride + (n_rows * bits + 7) / 8
                                        : (n_rows - 1) * codes_stride + n_cols);
    for (std::byte& code : codes) code = static_cast<std::byte>(random());
    std::vector<float> scales(n_cols), zero_points(n_cols), x(n_rows * stride), y(x.size());
    for (float& v : scales) v = std::ldexp(static_cast<float>(random() % 1000) - 500.0f, -12);
    for (float& v : zero_points) v = static_cast<float>(random() % (1u << bits));
    for (float& v : x) v = std::ldexp(static_cast<float>(random() % 20001) - 10000.0f, -12);
    const BlockView view{codes.data(), codes_stride, scales.data(),
                         zeros ? zero_points.data() : nullptr};
    quant::decode_block_ref(packing, bits, is_signed, view, n_rows, n_cols, y.data(), stride);
    quant::ErrorSums got{1, 2, 3, 4, 5, 6}, reference = got, decoded = got;
    quant::block_error_sums(packing, bits, is_signed, view, x.data(), stride, n_rows, n_cols, got);
    quant::block_error_sums_ref(packing, bits, is_signed, view, x.data(), stride, n_rows, n_cols,
                                reference);
    quant::error_sums_ref(x.data(), y.data(), stride, n_rows, n_cols, decoded);
    const std::string where = simd + " bits " + std::to_string(bits) + " rows " +
                              std::to_string(n_rows) + " columns " + std::to_string(n_cols);
    expect_identical(got, reference, where);
    expect_identical(reference, decoded, where);
  };
  for_each_simd([&](const std::string& simd) {
    for (const Packing packing : {Packing::nbits, Packing::k_major})
      for (const unsigned bits : {2u, 4u, 8u})
        for (const bool is_signed : {false, true})
          for (const size_t n_rows : {1u, 7u, 16u, 32u, 33u, 128u})
            for (const size_t n_cols : {1u, 16u, 21u, 64u})
              check(simd, packing, bits, is_signed, n_cols % 2 == 0, n_rows, n_cols);
  });
}

// Squares that a float cannot hold are summed in double.
TEST(ErrorSums, TinyAndHugeValues) {
  for (const int exponent : {-140, -70, 70, 120}) {
    std::vector<float> x(64), y(64);
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = std::ldexp(static_cast<float>(i % 7 + 1), exponent);
      y[i] = std::ldexp(static_cast<float>(i % 5 + 1), exponent);
    }
    double noise = 0, dot = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double a = static_cast<double>(i % 7 + 1), b = static_cast<double>(i % 5 + 1);
      noise += (a - b) * (a - b), dot += a * b;
    }
    for_each_simd([&](const std::string& simd) {
      quant::ErrorSums sums;
      quant::error_sums(x.data(), y.data(), 16, 4, 16, sums);
      EXPECT_EQ(sums.noise, std::ldexp(noise, 2 * exponent)) << simd << " 2^" << exponent;
      EXPECT_EQ(sums.dot, std::ldexp(dot, 2 * exponent)) << simd << " 2^" << exponent;
    });
  }
}

// The only error is one whose square is no float.
TEST(ErrorSums, TinyErrorAmongLargeValues) {
  std::vector<float> x(64, 1.0f), y = x;
  x[20] = 0x1p-75f, y[20] = 0x1p-74f;
  for_each_simd([&](const std::string& simd) {
    quant::ErrorSums sums;
    quant::error_sums(x.data(), y.data(), 16, 4, 16, sums);
    EXPECT_EQ(sums.noise, 0x1p-150) << simd;
    EXPECT_EQ(sums.max_abs, 0x1p-75) << simd;
  });
}

// 32 float additions to a partial sum: the bound that kernels.h states.
TEST(ErrorSums, FloatPartialsKeepTheStatedBound) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const size_t n_rows = 256, n_cols = 40;
  std::vector<float> x(n_rows * n_cols), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = normal(random), y[i] = x[i] + 0.01f * normal(random);
  double signal = 0, noise = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double a = static_cast<double>(x[i]), e = a - static_cast<double>(y[i]);
    signal += a * a, noise += e * e;
  }
  quant::ErrorSums sums;
  quant::error_sums(x.data(), y.data(), n_cols, n_rows, n_cols, sums);
  EXPECT_NEAR(sums.signal, signal, signal * 0x1p-19);
  EXPECT_NEAR(sums.noise, noise, noise * 0x1p-19);
}

TEST(ErrorSums, WhatIsNotFiniteIsLeftOut) {
  const float inf = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  const float max = std::numeric_limits<float>::max();
  std::vector<float> x(40, 1.0f), y(40, 1.5f);
  x[3] = inf, x[11] = nan, y[20] = -inf, y[21] = nan, x[30] = inf, y[30] = inf;
  x[39] = max, y[39] = -max;
  for_each_simd([&](const std::string& simd) {
    quant::ErrorSums sums;
    quant::error_sums(x.data(), y.data(), 20, 2, 20, sums);
    const double m = max;
    expect_identical(sums, {34 + m * m, 8.5 + 4 * m * m, 51 - m * m, 76.5 + m * m, 2 * m, 35},
                     simd);
    const float ones[] = {1, 1, 1}, saturated[] = {1, inf, 1};  // what an overflowing cast makes
    for (const float* other : {saturated, ones}) {
      quant::ErrorSums one_side;
      quant::error_sums(other == ones ? saturated : ones, other, 3, 1, 3, one_side);
      expect_identical(one_side, {2, 0, 2, 2, 0, 2}, simd);
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
