#include "core/sources.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "core/input_file.h"

namespace phiquant {
namespace {

std::string counted(size_t n, int first = 0) {
  std::string bytes(n, '\0');
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>(first + static_cast<int>(i));
  return bytes;
}

std::string read(const ByteSource& source, uint64_t offset, size_t n) {
  std::string out(n, '?');
  EXPECT_TRUE(source.read(offset, std::as_writable_bytes(std::span(out))).has_value());
  return out;
}

// Every range of the source reads as that range of `wanted`.
void expect_bytes(const ByteSource& source, const std::string& wanted) {
  ASSERT_EQ(source.size_bytes(), wanted.size());
  for (size_t begin = 0; begin <= wanted.size(); ++begin)
    for (size_t n = 0; n <= wanted.size() - begin; ++n)
      ASSERT_EQ(read(source, begin, n), wanted.substr(begin, n)) << begin << " " << n;
}

TEST(Sources, SliceIsARange) {
  expect_bytes(*slice_source(memory_source(counted(20)), 3, 11), counted(11, 3));
}

TEST(Sources, ConcatJoinsPartsAlsoEmptyOnes) {
  const auto source =
      concat_source({memory_source(""), memory_source(counted(3)), memory_source(""),
                     memory_source(counted(5, 3)), memory_source("")});
  expect_bytes(*source, counted(8));
}

TEST(Sources, InterleaveTakesRowsByTurns) {
  const SourceTensor a{"a", DType::u8, {3, 2}, memory_source("aabbcc")},
      b{"b", DType::u8, {3, 2}, memory_source("AABBCC")};
  const SourceTensor both = interleave_rows(a, b);
  EXPECT_EQ(both.name, "a");
  EXPECT_EQ(both.shape, (Shape{6, 2}));
  expect_bytes(*both.bytes, "aaAAbbBBccCC");
}

TEST(Sources, ComputedValuesDoNotDependOnHowTheyAreRead) {
  const auto source = computed_source(5, [](uint64_t first, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(first + i) + 0.5f;
  });
  std::string wanted;
  for (int i = 0; i < 5; ++i) {
    const float value = static_cast<float>(i) + 0.5f;
    wanted.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  expect_bytes(*source, wanted);
}

TEST(Sources, RowsOfTensorsAreSlicedAndJoined) {
  const SourceTensor a{"a", DType::bf16, {3, 2}, memory_source(counted(12))};
  const SourceTensor part = slice_rows(a, 1, 2);
  EXPECT_EQ(part.shape, (Shape{2, 2}));
  expect_bytes(*part.bytes, counted(8, 4));
  const SourceTensor joined = concat_rows("j", {part, a});
  EXPECT_EQ(joined.shape, (Shape{5, 2}));
  expect_bytes(*joined.bytes, counted(8, 4) + counted(12));
  const SourceTensor vector{"v", DType::f32, {4}, memory_source(counted(16))};
  expect_bytes(*slice_rows(vector, 2, 1).bytes, counted(4, 8));
}

}  // namespace
}  // namespace phiquant
