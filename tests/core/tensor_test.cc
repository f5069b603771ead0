#include "core/tensor.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>

#include "core/checked_math.h"

namespace phiquant {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(Tensor, EveryDtypeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int t = 0; t <= static_cast<int>(DType::string); ++t)
    names.insert(dtype_name(static_cast<DType>(t)));
  EXPECT_EQ(names.size(), static_cast<size_t>(DType::string) + 1);
  EXPECT_EQ(dtype_name(DType::f32), "float32");
  EXPECT_EQ(dtype_name(DType::bf16), "bfloat16");
  EXPECT_EQ(dtype_name(DType::u4), "uint4");
  EXPECT_EQ(dtype_name(DType::boolean), "bool");
}

TEST(Tensor, CountsElements) {
  EXPECT_EQ(element_count({}), 1u);
  EXPECT_EQ(element_count({3072, 8192}), 25165824u);
  EXPECT_EQ(element_count({3, 0, 5}), 0u);
  EXPECT_EQ(element_count({uint64_t{1} << 62}), uint64_t{1} << 62);
  EXPECT_EQ(element_count({uint64_t{1} << 63}), std::nullopt);
  EXPECT_EQ(element_count({uint64_t{1} << 32, uint64_t{1} << 31}), std::nullopt);
  EXPECT_EQ(element_count({uint64_t{1} << 32, uint64_t{1} << 32}), std::nullopt);  // wraps to 0
  EXPECT_EQ(element_count({kMax, kMax, 0}), 0u);
}

TEST(Tensor, SizesInBytesRoundSubBytesUp) {
  EXPECT_EQ(tensor_bytes(DType::f32, {3, 5}), 60u);
  EXPECT_EQ(tensor_bytes(DType::i4, {3, 5}), 8u);
  EXPECT_EQ(tensor_bytes(DType::u4, {16}), 8u);
  EXPECT_EQ(tensor_bytes(DType::i2, {5}), 2u);
  EXPECT_EQ(tensor_bytes(DType::c128, {2}), 32u);
  EXPECT_EQ(tensor_bytes(DType::string, {7}), 0u);
  EXPECT_EQ(tensor_bytes(DType::f32, {}), 4u);
  EXPECT_EQ(tensor_bytes(DType::f32, {uint64_t{1} << 61}), std::nullopt);
  EXPECT_EQ(tensor_bytes(DType::i4, {(uint64_t{1} << 63) - 1}), uint64_t{1} << 62);
}

TEST(Tensor, PrintsShapes) {
  EXPECT_EQ(shape_string({}), "[]");
  EXPECT_EQ(shape_string({3072, 8192}), "[3072, 8192]");
}

TEST(CheckedMath, RefusesOverflow) {
  EXPECT_EQ(checked_mul(kMax, 1), kMax);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_add(kMax - 1, 1), kMax);
  EXPECT_EQ(checked_add(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_round_up(4097, 4096), 8192u);
  EXPECT_EQ(checked_round_up(8192, 4096), 8192u);
  EXPECT_EQ(checked_round_up(kMax - 5, 4096), std::nullopt);
  EXPECT_TRUE(range_inside(10, 0, 10));
  EXPECT_TRUE(range_inside(4, 6, 10));
  EXPECT_FALSE(range_inside(4, 7, 10));
  EXPECT_FALSE(range_inside(kMax, 2, 10));
  EXPECT_FALSE(range_inside(2, kMax, 10));
}

}  // namespace
}  // namespace phiquant
