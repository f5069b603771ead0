// Casts: vectors = scalar specification on every SIMD level; the specification against known
// values.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/half.h"
#include "quant/kernels.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

using Bytes = std::vector<std::byte>;

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// Every 16-bit pattern, or float32 patterns around every place where a cast changes its mind, and
// random ones.
Bytes all_inputs(DType from) {
  if (from != DType::f32) {
    std::vector<uint16_t> every(65536);
    for (size_t i = 0; i < every.size(); ++i) every[i] = static_cast<uint16_t>(i);
    return bytes_of(every);
  }
  std::vector<uint32_t> bits;
  for (uint32_t high = 0; high < 0x8000; ++high)
    for (const uint32_t low :
         {0x0000u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u, 0xf000u, 0xffffu}) {
      bits.push_back(high << 16 | low);
      bits.push_back(high << 16 | low | 0x80000000u);
    }
  for (const float edge : {5.96e-8f, 65504.0f, 65520.0f, 0x1p-14f, 0x1p-24f, 0x1p-25f})
    for (int step = -2; step <= 2; ++step)
      bits.push_back(std::bit_cast<uint32_t>(edge) + static_cast<uint32_t>(step));
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) bits.push_back(static_cast<uint32_t>(random()));
  return bytes_of(bits);
}

void expect_same(const quant::CastStats& a, const quant::CastStats& b) {
  EXPECT_EQ(a.overflowed, b.overflowed);
  EXPECT_EQ(a.underflowed, b.underflowed);
  EXPECT_EQ(a.nan, b.nan);
  EXPECT_EQ(a.inf, b.inf);
}

// Where two buffers first differ, or their size.
size_t first_difference(const Bytes& a, const Bytes& b) {
  size_t i = 0;
  while (i < a.size() && a[i] == b[i]) ++i;
  return i;
}

TEST(Cast, EverySimdGivesTheReferenceBytesAndCounts) {
  for (const DType from : {DType::f32, DType::f16, DType::bf16})
    for (const DType to : {DType::f32, DType::f16, DType::bf16})
      for (const CastRule rule : {CastRule::ieee, CastRule::ort_fp16}) {
        const Bytes in = all_inputs(from);
        const size_t in_size = dtype_bits(from) / 8, n = in.size() / in_size;
        Bytes expected(n * dtype_bits(to) / 8);
        quant::CastStats expected_stats;
        quant::cast_ref(in.data(), from, n, expected.data(), to, rule, expected_stats);
        for_each_simd([&](const std::string& simd) {
          SCOPED_TRACE(simd + " " + std::string(dtype_name(from)) + " to " +
                       std::string(dtype_name(to)));
          Bytes got(expected.size());
          quant::CastStats stats;
          quant::cast(in.data(), from, n, got.data(), to, rule, stats);
          EXPECT_EQ(first_difference(got, expected), expected.size());
          expect_same(stats, expected_stats);
        });
      }
}

// One value that is lost, or just not, among thousands that are kept.
TEST(Cast, OneLostValueIsCountedAndReplaced) {
  std::vector<uint32_t> edges = {0, 1, 0x7f7fffffu, 0x7f800000u, 0x7f800001u, 0x7fc00000u};
  for (const uint32_t edge : {0x477ff000u, 0x477fe000u, 0x33000000u, 0x38800000u, 0x7f7f8000u,
                              0x00008000u, std::bit_cast<uint32_t>(5.96e-8f)})
    for (uint32_t step = 0; step < 3; ++step) edges.push_back(edge - 1 + step);
  const std::vector<float> kept(5000, 0.25f);
  for_each_simd([&](const std::string& simd) {
    for (const DType to : {DType::f32, DType::f16, DType::bf16})
      for (const CastRule rule : {CastRule::ieee, CastRule::ort_fp16})
        for (const uint32_t edge : edges)
          for (const size_t at : {0u, 2047u, 2048u, 4500u}) {
            std::vector<float> values = kept;
            values[at] = std::bit_cast<float>(edge | 0x80000000u);
            const Bytes in = bytes_of(values);
            const size_t size = values.size() * dtype_bits(to) / 8;
            Bytes got(size), expected(size);
            quant::CastStats stats, expected_stats;
            quant::cast(in.data(), DType::f32, values.size(), got.data(), to, rule, stats);
            quant::cast_ref(in.data(), DType::f32, values.size(), expected.data(), to, rule,
                            expected_stats);
            EXPECT_EQ(first_difference(got, expected), size)
                << simd << " " << std::hex << edge << std::dec << " at " << at;
            expect_same(stats, expected_stats);
          }
  });
}

TEST(Cast, ShortRunsAndOddAddresses) {
  const Bytes in = all_inputs(DType::f32);
  for_each_simd([&](const std::string& simd) {
    for (size_t n = 0; n < 70; ++n) {
      SCOPED_TRACE(simd + " " + std::to_string(n));
      Bytes source(n * 4 + 1), got(n * 2 + 3, std::byte{0x5a}), expected = got;
      if (n != 0) std::memcpy(source.data() + 1, in.data() + n * 1000, n * 4);
      quant::CastStats stats, expected_stats;
      quant::cast(source.data() + 1, DType::f32, n, got.data() + 1, DType::f16, CastRule::ieee,
                  stats);
      quant::cast_ref(source.data() + 1, DType::f32, n, expected.data() + 1, DType::f16,
                      CastRule::ieee, expected_stats);
      EXPECT_EQ(got, expected);  // with the bytes before and after
      expect_same(stats, expected_stats);
    }
  });
}

TEST(Cast, WideningIsExactOnEverySimd) {
  for (const DType from : {DType::f16, DType::bf16}) {
    const Bytes in = all_inputs(from);
    for_each_simd([&](const std::string& simd) {
      std::vector<float> got(65536 - 3);
      quant::to_f32(in.data() + 6, from, got.size(), got.data());
      size_t wrong = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        const auto bits = static_cast<uint16_t>(i + 3);
        const float expected = from == DType::f16 ? f32_from_f16(bits) : f32_from_bf16(bits);
        wrong += std::bit_cast<uint32_t>(got[i]) != std::bit_cast<uint32_t>(expected);
      }
      EXPECT_EQ(wrong, 0u) << simd;
    });
  }
}

TEST(Cast, CountsWhatWasLost) {
  const float inf = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  const Bytes in =
      bytes_of(std::vector<float>{0.0f, -0.0f, 1.0f, 65504.0f, 65519.0f, -65520.0f, 3e38f, inf,
                                  -inf, nan, 5.9e-8f, -0x1p-25f, 0x1.8p-25f, 1e-30f});
  const size_t n = in.size() / 4;
  for_each_simd([&](const std::string& simd) {
    SCOPED_TRACE(simd);
    std::vector<uint16_t> out(n);
    auto* to = reinterpret_cast<std::byte*>(out.data());
    quant::CastStats ieee, ort, brain;
    quant::cast(in.data(), DType::f32, n, to, DType::f16, CastRule::ieee, ieee);
    expect_same(ieee, {.overflowed = 2, .underflowed = 2, .nan = 1, .inf = 2});
    EXPECT_EQ(out, (std::vector<uint16_t>{0, 0x8000, 0x3c00, 0x7bff, 0x7bff, 0xfc00, 0x7c00, 0x7c00,
                                          0xfc00, 0x7e00, 1, 0x8000, 1, 0}));
    quant::cast(in.data(), DType::f32, n, to, DType::f16, CastRule::ort_fp16, ort);
    expect_same(ort, {.overflowed = 3, .underflowed = 4, .nan = 1, .inf = 2});
    EXPECT_EQ(out, (std::vector<uint16_t>{0, 0x8000, 0x3c00, 0x7bff, 0x7bff, 0xfbff, 0x7bff, 0x7c00,
                                          0xfc00, 0x7e00, 1, 0x8001, 1, 1}));
    quant::cast(in.data(), DType::f32, n, to, DType::bf16, CastRule::ort_fp16, brain);
    expect_same(brain, {.overflowed = 0, .underflowed = 0, .nan = 1, .inf = 2});
  });
}

// Through float32 these would be rounded twice, and the first rounding makes a tie of them.
TEST(Cast, DoublesAreRoundedOnce) {
  const std::vector<double> x = {1 + 0x1p-11 + 0x1p-40,
                                 -(1 + 0x1p-11 + 0x1p-40),
                                 1 + 0x1p-11 - 0x1p-40,
                                 1 + 0x1p-11,
                                 0x1p-25 + 0x1p-60,
                                 65520 - 0x1p-30,
                                 1e300,
                                 1e-300,
                                 std::numeric_limits<double>::quiet_NaN(),
                                 -std::numeric_limits<double>::infinity()};
  std::vector<uint16_t> out(x.size());
  quant::CastStats stats;
  quant::cast(bytes_of(x).data(), DType::f64, x.size(), reinterpret_cast<std::byte*>(out.data()),
              DType::f16, CastRule::ieee, stats);
  EXPECT_EQ(out, (std::vector<uint16_t>{0x3c01, 0xbc01, 0x3c00, 0x3c00, 1, 0x7bff, 0x7c00, 0,
                                        0x7e00, 0xfc00}));
  expect_same(stats, {.overflowed = 1, .underflowed = 1, .nan = 1, .inf = 1});
  std::vector<float> wide(x.size());
  quant::CastStats wide_stats;
  quant::cast(bytes_of(x).data(), DType::f64, x.size(), reinterpret_cast<std::byte*>(wide.data()),
              DType::f32, CastRule::ieee, wide_stats);
  EXPECT_EQ(wide[0], static_cast<float>(x[0]));
  EXPECT_TRUE(std::isinf(wide[6]));
  expect_same(wide_stats, {.overflowed = 1, .underflowed = 1, .nan = 1, .inf = 1});
}

TEST(Transpose, EverySimdAndShape) {
  for_each_simd([&](const std::string& simd) {
    for (const size_t rows : {1u, 3u, 4u, 8u, 15u, 16u, 17u, 40u, 100u})
      for (const size_t cols : {1u, 3u, 4u, 5u, 16u, 20u, 33u, 64u}) {
        const size_t in_stride = cols + 3, out_stride = rows + 1;
        std::vector<float> in(rows * in_stride);
        for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
        std::vector<float> got(cols * out_stride, -1.0f), expected = got;
        quant::transpose(in.data(), in_stride, rows, cols, got.data(), out_stride);
        quant::transpose_ref(in.data(), in_stride, rows, cols, expected.data(), out_stride);
        ASSERT_EQ(got, expected) << simd << " " << rows << " x " << cols;
      }
  });
}

TEST(SplitBf16Pairs, EveryBitPatternOnEverySimd) {
  constexpr size_t kRows = 3;
  for (const size_t n : {1u, 16u, 21845u}) {
    std::vector<uint16_t> halves(kRows * n * 2);
    for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i * 40503);
    std::vector<float> pairs(kRows * n), expected(kRows * n * 2), got = expected;
    std::memcpy(pairs.data(), halves.data(), halves.size() * sizeof(uint16_t));
    for (size_t r = 0; r < kRows; ++r)
      for (size_t i = 0; i < 2 * n; ++i)
        expected[(2 * r + i % 2) * n + i / 2] =
            std::bit_cast<float>(static_cast<uint32_t>(halves[r * 2 * n + i]) << 16);
    for_each_simd([&](const std::string& simd) {
      quant::split_bf16_pairs(pairs.data(), kRows, n, got.data());
      // NaNs too: bits are compared.
      ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)), 0)
          << simd << " " << n;
    });
  }
}

TEST(TurnToF32, EveryDtypeStrideAndSimd) {
  std::vector<std::byte> in(65536);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i * 37 % 113);  // no NaN
  for_each_simd([&](const std::string& simd) {
    for (const DType from : {DType::f32, DType::f16, DType::bf16})
      for (const size_t n : {1u, 5u, 16u, 64u})
        for (const size_t k : {1u, 2u, 31u, 32u, 64u})
          for (const size_t gap : {0u, 1u, 2u, 4u})
            for (const size_t phase : {0u, 2u}) {
              const size_t stride = k * dtype_bits(from) / 8 + gap;
              std::vector<float> scratch(n * k), row(k), got(n * k, -1.0f), expected(n * k);
              for (size_t r = 0; r < n; ++r) {
                quant::to_f32_ref(in.data() + phase + r * stride, from, k, row.data());
                for (size_t i = 0; i < k; ++i) expected[i * n + r] = row[i];
              }
              quant::turn_to_f32(in.data() + phase, stride, from, n, k, scratch.data(), got.data());
              ASSERT_EQ(got, expected) << simd << " " << dtype_name(from) << " " << n << " x " << k
                                       << " stride " << stride << " phase " << phase;
            }
  });
}

TEST(CopyRows, EverySimdWhereverRowsStart) {
  alignas(64) std::array<std::byte, 8192> out{};
  std::vector<std::byte> in(4096);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i % 251 + 1);
  for_each_simd([&](const std::string& simd) {
    for (const size_t row_bytes : {1u, 64u, 100u, 128u})
      for (const size_t stride : {128u, 130u, 192u})
        for (const size_t phase : {0u, 32u, 64u}) {
          constexpr size_t kRows = 30;
          const size_t in_stride = row_bytes + phase / 16;
          out.fill(std::byte{0});
          quant::copy_rows(in.data(), in_stride, row_bytes, kRows, out.data() + phase, stride);
          std::array<std::byte, 8192> expected{};
          for (size_t r = 0; r < kRows; ++r)
            for (size_t i = 0; i < row_bytes; ++i)
              expected[phase + r * stride + i] = in[r * in_stride + i];
          ASSERT_TRUE(out == expected) << simd << " " << row_bytes << " " << stride << " " << phase;
        }
  });
}

TEST(FirstNonFinite, FindsTheFirstWhereverItIs) {
  const float inf = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  for_each_simd([&](const std::string& simd) {
    for (const size_t n : {0u, 1u, 17u, 300u, 1000u}) {
      std::vector<float> x(n, -std::numeric_limits<float>::max());
      ASSERT_EQ(quant::first_non_finite(x.data(), n), n) << simd;
      for (size_t i = n; i-- > 0;) {
        x[i] = i % 3 == 0 ? nan : i % 3 == 1 ? inf : -inf;  // those behind stay
        ASSERT_EQ(quant::first_non_finite(x.data(), n), i) << simd;
      }
    }
  });
}

}  // namespace
}  // namespace phiquant::test
