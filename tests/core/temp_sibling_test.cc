#include "core/temp_sibling.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/output_test_util.h"

namespace phiquant {
namespace {

using test::contents;
using test::put;
using test::TempFolder;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

class MoveIntoPlace : public testing::TestWithParam<bool> {};

TEST_P(MoveIntoPlace, ReplacesAFolderAndHandsBackTheOld) {
  const TempFolder temp;
  put(temp.path() / "new/a", "new");
  put(temp.path() / "out/a", "old");
  const auto old = move_into_place(temp.path() / "new", temp.path() / "out",
                                   {.force = true, .may_exchange = GetParam()});
  ASSERT_TRUE(old) << old.error().message;
  ASSERT_TRUE(old->has_value());
  EXPECT_EQ(contents(temp.path() / "out/a"), "new");
  EXPECT_EQ(contents(**old / "a"), "old");
  if (GetParam()) {
    EXPECT_EQ(**old, temp.path() / "new");
  } else {
    EXPECT_THAT((*old)->filename().string(), HasSubstr(".out.phiquant-old-"));
  }
}

INSTANTIATE_TEST_SUITE_P(ExchangeOrTwoRenames, MoveIntoPlace, testing::Bool());

TEST(MoveIntoPlaceTest, WithoutForceKeepsWhatStands) {
  const TempFolder temp;
  put(temp.path() / "new", "new");
  put(temp.path() / "out", "old");
  const auto result = move_into_place(temp.path() / "new", temp.path() / "out", {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::usage);
  EXPECT_EQ(contents(temp.path() / "out"), "old");
}

TEST(StaleSiblings, OldOutputMovedAsideByAKilledRunComesBack) {
  const TempFolder temp;
  put(temp.path() / ".out.phiquant-old-0123456789abcdef/a", "old");
  clean_stale_siblings(temp.path() / "out");
  EXPECT_THAT(temp.names(), ElementsAre("out", "out/a"));
}

TEST(StaleSiblings, OldOutputGoesWhereTheNewOneStands) {
  const TempFolder temp;
  put(temp.path() / ".out.phiquant-old-0123456789abcdef/a", "old");
  put(temp.path() / "out/a", "new");
  clean_stale_siblings(temp.path() / "out");
  EXPECT_THAT(temp.names(), ElementsAre("out", "out/a"));
  EXPECT_EQ(contents(temp.path() / "out/a"), "new");
}

TEST(StaleSiblings, LockedOnesAndLinksStay) {
  const TempFolder temp;
  fs::create_directory(temp.path() / "precious");
  put(temp.path() / "precious/a", "x");
  fs::create_directory_symlink(temp.path() / "precious",
                               temp.path() / ".out.phiquant-0123456789abcdef");
  auto live = create_temp_sibling(temp.path() / "out");
  ASSERT_TRUE(live);
  clean_stale_siblings(temp.path() / "out");
  EXPECT_TRUE(fs::exists(live->path));
  EXPECT_TRUE(fs::exists(temp.path() / "precious/a"));
  live->lock.close();
  clean_stale_siblings(temp.path() / "out");
  EXPECT_FALSE(fs::exists(live->path));
}

TEST(Folders, CreatedOnesAreNamedAndGoWhenEmpty) {
  const TempFolder temp;
  fs::create_directory(temp.path() / "a");
  const auto created = create_folders(temp.path() / "a/b/c");
  ASSERT_TRUE(created);
  EXPECT_THAT(*created, ElementsAre(temp.path() / "a/b", temp.path() / "a/b/c"));
  put(temp.path() / "a/b/file", "x");
  remove_empty_folders(*created);
  EXPECT_THAT(temp.names(), ElementsAre("a", "a/b", "a/b/file"));
}

}  // namespace
}  // namespace phiquant
