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

TEST(Targets, EachAvailableOneCanBeForcedAndTakes) {
  const auto available = quant::available_targets();
  ASSERT_FALSE(available.empty());
  EXPECT_EQ(quant::active_target(), available.front()) << "the best is the default";
  for (const std::string_view name : available) {
    ASSERT_TRUE(quant::force_target(name)) << name;
    // active_target() answers from inside a dispatched function, so this is the code that runs.
    EXPECT_EQ(quant::active_target(), name);
  }
  ASSERT_TRUE(quant::force_target(available.front()));
}

TEST(Targets, NamesAreHighways) {
  for (const std::string_view name : quant::available_targets()) {
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

TEST(Targets, UnknownNamesChangeNothing) {
  const std::string_view before = quant::active_target();
  for (const std::string_view name : {"", "avx9", "AVX2", "sse2", "unknown"})
    EXPECT_FALSE(quant::force_target(name)) << name;
  EXPECT_EQ(quant::active_target(), before);
}

}  // namespace
}  // namespace phiquant::test
