#include "quant/numeric/sin_cos.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "quant/simd_levels.h"

namespace {

using namespace phiquant;

// As a rotary table has them, and whatever else a float may be.
std::vector<float> angles() {
  std::vector<float> all;
  for (uint32_t position = 0; position < 131072; position += 37)
    for (int i = 0; i < 48; i += 5)
      all.push_back(static_cast<float>(position) *
                    static_cast<float>(std::pow(10000.0, -i / 48.0) / (1 + i % 3)));
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    float value;
    std::memcpy(&value, &bits, sizeof value);
    all.push_back(value);
  }
  for (int i = -40000; i < 40000; ++i)  // close to the zeros of both
    all.push_back(static_cast<float>(i * 1.5707963267948966));
  for (const float v : {0.0f, -0.0f, 0x1p20f, -0x1p20f, std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN(), 0x1p-149f})
    all.push_back(v);
  return all;
}

bool same(float a, float b) { return (std::isnan(a) && std::isnan(b)) || a == b; }

TEST(SinCos, TheNearestFloatsOnEverySimd) {
  const std::vector<float> in = angles();
  test::for_each_simd([&](const std::string& simd) {
    std::vector<float> sines(in.size()), cosines = in;
    nearest_sin(in.data(), in.size(), sines.data());
    nearest_cos(cosines.data(), cosines.size(), cosines.data());
    for (size_t i = 0; i < in.size(); ++i) {
      const double a = static_cast<double>(in[i]);
      ASSERT_TRUE(same(sines[i], static_cast<float>(std::sin(a)))) << simd << " sin " << in[i];
      ASSERT_TRUE(same(cosines[i], static_cast<float>(std::cos(a)))) << simd << " cos " << in[i];
      ASSERT_EQ(std::signbit(sines[i]), std::signbit(static_cast<float>(std::sin(a))));
    }
  });
}

TEST(SinCos, AnyCount) {
  const std::vector<float> in = angles();
  for (size_t n = 0; n < 40; ++n) {
    std::vector<float> out(n + 1, 7.0f);
    nearest_cos(in.data(), n, out.data());
    for (size_t i = 0; i < n; ++i)
      ASSERT_EQ(out[i], static_cast<float>(std::cos(static_cast<double>(in[i]))));
    ASSERT_EQ(out[n], 7.0f);
  }
}

}  // namespace
