#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/half.h"
#include "core/input_file.h"
#include "core/sources.h"
#include "quant/numeric/cast_source.h"

namespace phiquant {
namespace {

SourceTensor floats(size_t n) {
  std::string bytes;
  for (size_t i = 0; i < n; ++i) {
    const float value =
        std::ldexp(static_cast<float>(i) * 1.7f + 0.3f, static_cast<int>(i % 37) - 18) *
        (i % 2 ? -1.0f : 1.0f);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return {"x", DType::f32, {n}, memory_source(bytes)};
}

TEST(CastSource, RoundsEveryElementOnceHoweverItIsRead) {
  constexpr size_t kCount = 40'000;  // more than one run of the cast
  const SourceTensor source = floats(kCount);
  std::vector<float> x(kCount);
  ASSERT_TRUE(source.bytes->read(0, std::as_writable_bytes(std::span(x))).has_value());
  std::string wanted;
  for (const float v : x) {
    const uint16_t half = f16_from_f32(v);
    wanted.append(reinterpret_cast<const char*>(&half), sizeof half);
  }
  const SourceTensor cast = cast_source(source, DType::f16);
  EXPECT_EQ(cast.dtype, DType::f16);
  EXPECT_EQ(cast.shape, source.shape);
  ASSERT_EQ(cast.bytes->size_bytes(), wanted.size());
  for (const auto& [begin, size] : std::vector<std::pair<size_t, size_t>>{{0, wanted.size()},
                                                                          {1, 1},
                                                                          {1, 2},
                                                                          {2, 3},
                                                                          {3, 70'001},
                                                                          {wanted.size() - 1, 1},
                                                                          {5, 0}}) {
    std::string out(size, '?');
    ASSERT_TRUE(cast.bytes->read(begin, std::as_writable_bytes(std::span(out))).has_value());
    EXPECT_EQ(out, wanted.substr(begin, size)) << begin << " " << size;
  }
}

TEST(CastSource, IsTheTensorItselfWhereTheTypeIsTheSame) {
  const SourceTensor source = floats(8);
  EXPECT_EQ(cast_source(source, DType::f32).bytes, source.bytes);
}

}  // namespace
}  // namespace phiquant
