#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include "core/glob.h"
#include "core/nearest.h"
#include "phiquant/phiquant.h"

namespace phiquant {
namespace {

TEST(Glob, MatchesWholeNames) {
  EXPECT_TRUE(glob_match("*", "/model/layers.0/MatMul"));
  EXPECT_TRUE(glob_match("/model/*/MatMul", "/model/layers.0/attn/MatMul"));  // * takes slashes
  EXPECT_TRUE(glob_match("layers.?", "layers.7"));
  EXPECT_FALSE(glob_match("layers.?", "layers.17"));
  EXPECT_TRUE(glob_match("layers.[0-3]", "layers.2"));
  EXPECT_FALSE(glob_match("layers.[0-3]", "layers.4"));
  EXPECT_TRUE(glob_match("layers.[!0-3]", "layers.4"));
  EXPECT_FALSE(glob_match("layers", "layers.4"));
  EXPECT_TRUE(glob_match("*.weight", ".weight"));
  EXPECT_TRUE(glob_match("a\\*b", "a*b"));
  EXPECT_FALSE(glob_match("a\\*b", "axb"));
  EXPECT_FALSE(glob_match("", "x"));
}

TEST(Glob, AnyOfSeveral) {
  const std::vector<std::string> patterns = {"a*", "*z"};
  EXPECT_TRUE(glob_match_any(patterns, "abc"));
  EXPECT_TRUE(glob_match_any(patterns, "xyz"));
  EXPECT_FALSE(glob_match_any(patterns, "xyy"));
  EXPECT_FALSE(glob_match_any({}, "abc"));
}

TEST(Nearest, CountsEdits) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("itn4", "int4"), 1u);  // a swap of neighbours is one edit
  EXPECT_EQ(edit_distance("int4", "int4"), 0u);
}

TEST(Nearest, SuggestsOnlyWhatIsNear) {
  const std::vector<std::string> known = {"--precision", "--scheme", "--force"};
  EXPECT_EQ(nearest("--presicion", known), "--precision");
  EXPECT_EQ(nearest("--sheme", known), "--scheme");
  EXPECT_EQ(nearest("--wibble", known), std::nullopt);
  EXPECT_EQ(nearest("int3", std::vector<std::string>{"int4", "int8"}),
            "int4");  // the first of equals
  EXPECT_EQ(did_you_mean("--forse", known), " (did you mean '--force'?)");
  EXPECT_EQ(did_you_mean("--wibble", known), "");
}

const CancelToken token;

TEST(CancelToken, CopiesShareAFlagThatASignalHandlerMaySet) {
  const CancelToken copy = token, other;
  EXPECT_FALSE(copy.requested());
  auto* const before = std::signal(SIGUSR1, [](int) { token.request(); });
  std::raise(SIGUSR1);
  std::signal(SIGUSR1, before);
  EXPECT_TRUE(copy.requested());
  EXPECT_FALSE(other.requested());
}

}  // namespace
}  // namespace phiquant
