#include "quant/ggml/mxfp4_gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace phiquant::quant::mxfp4_gguf {
namespace {

// The logarithm in double is far from any tie of its rounding to float.
int floor_of_rounded_log2(float x) {
  return static_cast<int>(std::floor(static_cast<float>(std::log2(static_cast<double>(x)))));
}

TEST(Mxfp4Gguf, ExponentIsThatOfTheLogarithmRoundedToFloat) {
  for (int t = -148; t <= 127; ++t) {
    const float power = std::ldexp(1.0f, t);
    ASSERT_EQ(floor_log2f(power), t);
    float x = power;
    for (int steps = 1; steps <= 120; ++steps) {
      x = std::nextafter(x, 0.0f);
      if (x == 0) break;
      ASSERT_EQ(floor_log2f(x), floor_of_rounded_log2(x)) << "2^" << t << " less " << steps;
    }
  }
  EXPECT_EQ(floor_log2f(std::numeric_limits<float>::max()), 128);
  EXPECT_EQ(floor_log2f(std::numeric_limits<float>::denorm_min()), -149);
}

TEST(Mxfp4Gguf, ScaleIsHalfOfThePowerThatTheExponentNames) {
  for (int e = 0; e < 256; ++e)
    EXPECT_EQ(scale_of(static_cast<uint8_t>(e)), std::ldexp(1.0f, e - 128)) << e;
}

}  // namespace
}  // namespace phiquant::quant::mxfp4_gguf
