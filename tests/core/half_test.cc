// half.h against the compiler's own _Float16, and bf16 against rounding by comparison of distances.
#include "core/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace phiquant {
namespace {

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }

uint16_t compiler_f16(float value) { return std::bit_cast<uint16_t>(static_cast<_Float16>(value)); }

// Both signs of `magnitude` and of the floats next to it.
template <class Check>
void around(uint32_t magnitude, Check check) {
  for (const uint32_t u : {magnitude - 1, magnitude, magnitude + 1})
    for (const uint32_t sign : {0u, 0x80000000u}) check((u & 0x7fffffffu) | sign);
}

TEST(Half, EveryF16Widens) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const auto bits = static_cast<uint16_t>(h);
    ASSERT_EQ(bits_of(f32_from_f16(bits)),
              bits_of(static_cast<float>(std::bit_cast<_Float16>(bits))))
        << h;
  }
}

TEST(Half, EveryF16SurvivesTheRoundTrip) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const bool is_nan = (h & 0x7fff) > 0x7c00;
    ASSERT_EQ(f16_from_f32(f32_from_f16(static_cast<uint16_t>(h))), is_nan ? h | 0x200 : h) << h;
  }
}

TEST(Half, TiesAndTheirNeighboursRoundAsTheCompilers) {
  // The middle of two neighbouring f16 is an f32; so are the values themselves.
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const float low = f32_from_f16(static_cast<uint16_t>(h));
    const float high = h == 0x7bff ? 65536.0f : f32_from_f16(static_cast<uint16_t>(h + 1));
    for (const float value : {low, low + (high - low) / 2})
      around(bits_of(value), [](uint32_t u) {
        ASSERT_EQ(f16_from_f32(float_of(u)), compiler_f16(float_of(u))) << u;
      });
  }
}

TEST(Half, FloatsOfEveryExponentRoundAsTheCompilers) {
  std::mt19937 random(1);
  for (uint32_t exponent = 0; exponent < 256; ++exponent)
    for (int i = 0; i < 16384; ++i) {
      const uint32_t u = (random() & 0x807fffffu) | (exponent << 23);
      ASSERT_EQ(f16_from_f32(float_of(u)), compiler_f16(float_of(u))) << u;
    }
}

TEST(Half, SpecialValues) {
  EXPECT_EQ(f16_from_f32(65504.0f), 0x7bff);
  EXPECT_EQ(f16_from_f32(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(f16_from_f32(65520.0f), 0x7c00);  // a tie, and the even neighbour is infinity
  EXPECT_EQ(f16_from_f32(0x1p-24f), 0x0001);
  EXPECT_EQ(f16_from_f32(0x1p-25f), 0x0000);  // a tie with zero
  EXPECT_EQ(f16_from_f32(std::nextafter(0x1p-25f, 1.0f)), 0x0001);
  EXPECT_EQ(f16_from_f32(-0.0f), 0x8000);
  EXPECT_EQ(f16_from_f32(float_of(0x7f800001u)),
            0x7e00);  // a signalling NaN whose payload is cut off
}

TEST(Bfloat16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t b = 0; b < 65536; ++b) {
    const float value = f32_from_bf16(static_cast<uint16_t>(b));
    ASSERT_EQ(bits_of(value), b << 16);
    const bool is_nan = (b & 0x7fff) > 0x7f80;
    ASSERT_EQ(bf16_from_f32(value), is_nan ? b | 0x40 : b) << b;
  }
}

TEST(Bfloat16, RoundsToTheNearestTiesToEven) {
  std::mt19937 random(2);
  const auto check = [](uint32_t u) {
    const float value = float_of(u);
    if (!std::isfinite(value)) return;
    const uint32_t low = u >> 16;  // towards zero; low + 1 is the neighbour away from it
    // Beyond the largest bf16 the next step of the same width is 2^128, which stands for infinity.
    const auto wide = [](uint32_t b) {
      const double sign = (b & 0x8000u) != 0 ? -1.0 : 1.0;
      return (b & 0x7fffu) == 0x7f80u ? sign * 0x1p128
                                      : double{f32_from_bf16(static_cast<uint16_t>(b))};
    };
    const double down = std::abs(double{value} - wide(low)),
                 up = std::abs(wide(low + 1) - double{value});
    const uint32_t wanted = down < up ? low : up < down ? low + 1 : low + (low & 1);
    ASSERT_EQ(bf16_from_f32(value), wanted) << u;
  };
  for (uint32_t b = 0; b < 0x7f80; ++b) {
    around(b << 16, check);
    around((b << 16) | 0x8000u, check);
  }
  for (int i = 0; i < 4000000; ++i) check(static_cast<uint32_t>(random()));
  EXPECT_EQ(bf16_from_f32(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(bf16_from_f32(float_of(0x7f800001u)), 0x7fc0);
}

}  // namespace
}  // namespace phiquant
