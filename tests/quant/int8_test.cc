// 8-bit codes: vectors = scalar specification on every SIMD level. The bytes of the peer:
// golden_int8_fp16_test.cc.
#include <gtest/gtest.h>

#include <cstring>
#include <iterator>
#include <limits>
#include <random>
#include <vector>

#include "quant/kernels.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

std::vector<float> hard_tile(size_t n_rows, size_t stride) {
  std::mt19937 random(static_cast<unsigned>(n_rows + stride));
  std::vector<float> x(n_rows * stride);
  const float hard[] = {0.0f,        -0.0f,  0.5f,    1.5f,          -2.5f,
                        0.49999997f, 127.5f, -128.5f, 254.5f,        8388609.0f,
                        3e38f,       -3e38f, 1e-45f,  2147483648.0f, -4294967296.0f};
  for (float& value : x) {
    value = (static_cast<float>(random() % 65536) - 32768.0f) / 128.0f;
    if (random() % 3 == 0) value = hard[random() % std::size(hard)];
  }
  return x;
}

TEST(Int8Encode, EverySimdGivesTheReferenceCodes) {
  for_each_simd([&](const std::string& simd) {
    for (const bool is_signed : {true, false})
      for (const size_t n_cols : {1u, 7u, 16u, 33u, 600u}) {
        const size_t n_rows = 5, stride = n_cols + 1;
        const std::vector<float> x = hard_tile(n_rows, stride);
        std::vector<quant::Int8Params> columns(n_cols);
        for (size_t c = 0; c < n_cols; ++c) {
          columns[c].scale = c % 3 == 0 ? 1.0f : 0.37f * static_cast<float>(c);
          columns[c].zero_point = static_cast<int>(c % 256) - (is_signed ? 128 : 0);
        }
        std::vector<std::byte> got(n_rows * stride, std::byte{99}), expected = got;
        quant::int8_encode(x.data(), stride, n_rows, n_cols, columns.data(), is_signed, got.data(),
                           stride);
        quant::int8_encode_ref(x.data(), stride, n_rows, n_cols, columns.data(), is_signed,
                               expected.data(), stride);
        ASSERT_EQ(got, expected) << simd << " " << n_cols;
      }
  });
}

TEST(Int8Encode, ReferenceRoundsToEvenAndClips) {
  const float x[] = {-64.25f, -1.25f, -0.25f, 0.25f, 0.75f, 63.25f, 1e30f, -1e30f};
  const std::vector<quant::Int8Params> columns(8, {0.5f, 1});
  std::vector<std::byte> codes(8);
  quant::int8_encode_ref(x, 8, 1, 8, columns.data(), true, codes.data(), 8);
  const int expected[] = {-127, -1,  1,   1,
                          3,    127, 127, -128};  // x / 0.5: -128.5 -2.5 -0.5 0.5 1.5 126.5
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(static_cast<int8_t>(codes[i]), expected[i]) << x[i];
}

TEST(ColumnMinMax, EverySimdGivesTheReferenceAndContinues) {
  const float inf = std::numeric_limits<float>::infinity();
  for_each_simd([&](const std::string& simd) {
    for (const size_t n_cols : {1u, 16u, 37u})
      for (const size_t n_rows : {1u, 4u, 7u}) {
        const std::vector<float> a = hard_tile(n_rows, n_cols + 2),
                                 b = hard_tile(n_rows + 1, n_cols + 2);
        std::vector<float> lo(n_cols, inf), hi(n_cols, -inf), expected_lo = lo, expected_hi = hi;
        for (const auto* x : {&a, &b}) {
          quant::column_min_max(x->data(), n_cols + 2, n_rows, n_cols, lo.data(), hi.data());
          quant::column_min_max_ref(x->data(), n_cols + 2, n_rows, n_cols, expected_lo.data(),
                                    expected_hi.data());
        }
        ASSERT_EQ(std::memcmp(lo.data(), expected_lo.data(), n_cols * 4), 0) << simd;
        ASSERT_EQ(std::memcmp(hi.data(), expected_hi.data(), n_cols * 4), 0) << simd;
      }
  });
  const float x[] = {3, -1, -5, 2, 9, -7};
  float lo[] = {inf, inf}, hi[] = {-inf, -inf};
  quant::column_min_max_ref(x, 2, 3, 2, lo, hi);
  EXPECT_EQ(lo[0], -5);
  EXPECT_EQ(hi[0], 9);
  EXPECT_EQ(lo[1], -7);
  EXPECT_EQ(hi[1], 2);
}

TEST(Int8FromRange, BfloatScalesAreRoundedToBfloat) {
  const quant::Int8Params wide = quant::int8_from_range(-1.0f, 0.3f, true, true, false, DType::f32);
  EXPECT_EQ(wide.scale, static_cast<float>(2.0 / 254.0));
  EXPECT_EQ(wide.zero_point, 0);
  const quant::Int8Params brain =
      quant::int8_from_range(-1.0f, 0.3f, true, true, false, DType::bf16);
  EXPECT_EQ(brain.scale, 0x1.02p-7f);
  EXPECT_EQ(quant::int8_from_range(0.0f, 0.0f, true, false, false, DType::f32).scale, 1.0f);
}

}  // namespace
}  // namespace phiquant::test
