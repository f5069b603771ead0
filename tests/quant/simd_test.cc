// Choosing the instruction set.
#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

#include "quant/kernels.h"

namespace phiquant::test {
namespace {

TEST(Simd, EachAvailableOneCanBeForcedAndTakes) {
  const auto available = quant::available_simd();
  ASSERT_FALSE(available.empty());
  EXPECT_EQ(quant::active_simd(), available.front()) << "the best is the default";
  for (const std::string_view name : available) {
    ASSERT_TRUE(quant::force_simd(name)) << name;
    // active_simd() answers from inside a dispatched function, so this is the code that runs.
    EXPECT_EQ(quant::active_simd(), name);
  }
  ASSERT_TRUE(quant::force_simd(available.front()));
}

TEST(Simd, NamesAreHighways) {
  for (const std::string_view name : quant::available_simd()) {
    bool known = name == "scalar";
    for (int64_t rest = hwy::SupportedTargets(); rest != 0; rest &= rest - 1) {
      std::string highway = hwy::TargetName(rest & -rest);
      std::transform(highway.begin(), highway.end(), highway.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      known |= highway == name;
    }
    EXPECT_TRUE(known) << name;
  }
}

TEST(Simd, UnknownNamesChangeNothing) {
  const std::string_view before = quant::active_simd();
  for (const std::string_view name : {"", "avx9", "AVX2", "sse2", "unknown"})
    EXPECT_FALSE(quant::force_simd(name)) << name;
  EXPECT_EQ(quant::active_simd(), before);
}

}  // namespace
}  // namespace phiquant::test
