// Disks that are full or read-only, limits, kills: the old output stands, and the message says why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "core/atomic_output.h"
#include "core/output_test_util.h"

namespace phiquant {
namespace {

using test::bytes_of;
using test::contents;
using test::in_child;
using test::kNoMount;
using test::message;
using test::mount_tmpfs;
using test::put;
using test::TempFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
namespace fs = std::filesystem;

constexpr uint64_t kMega = 1000 * 1000;

std::string create_message(const fs::path& target, uint64_t size, bool force = false) {
  auto output = AtomicOutput::create(target, {{"model.onnx", size}}, {.force = force});
  return output ? "accepted" : output.error().message;
}

TEST(OutputFaults, TooLittleSpaceIsSaidBeforeAnythingIsCreated) {
  const TempFolder temp;
  struct statvfs info {};
  ASSERT_EQ(::statvfs(temp.path().c_str(), &info), 0);
  const uint64_t need = (uint64_t{info.f_bavail} + (1u << 20)) * info.f_frsize;
  const std::string text = create_message(temp.path() / "a/out", need);
  EXPECT_THAT(
      text,
      MatchesRegex(".*/a/out: not enough space: needs [0-9.]+ .B .[0-9]+ bytes., has [0-9.]+ .B "
                   ".[0-9]+ bytes. .free some, or choose another disk."));
  EXPECT_THAT(text, HasSubstr(std::to_string(need) + " bytes)"));
  EXPECT_THAT(temp.names(), ElementsAre());
}

TEST(OutputFaults, SmallDiskRefusesByTheSum) {
  const TempFolder temp;
  const std::string text = in_child([&]() -> std::string {
    if (!mount_tmpfs(temp.path(), "size=8m")) return kNoMount;
    auto output =
        AtomicOutput::create(temp.path() / "out", {{"a", 5 * kMega}, {"b", 5 * kMega}}, {});
    if (output) return "accepted";
    return output.error().message + (temp.names().empty() ? "" : "; left something");
  });
  if (text == kNoMount) GTEST_SKIP() << text;
  // 5 MB in blocks of 4096 bytes, twice; 8 MiB.
  EXPECT_EQ(text, (temp.path() / "out").string() +
                      ": not enough space: needs 10.0 MB (10002432 bytes), has 8.4 MB "
                      "(8388608 bytes) (free some, or choose another disk)");
}

// ramfs tells no free space and cannot reserve blocks: neither may be taken for a full disk.
TEST(OutputFaults, FileSystemWithoutFiguresOrReservationWorks) {
  const TempFolder temp;
  const std::string text = in_child([&]() -> std::string {
    if (!mount_tmpfs(temp.path(), "size=1m")) return kNoMount;  // for the namespace
    if (::mount("ramfs", temp.path().c_str(), "ramfs", 0, nullptr) != 0) return kNoMount;
    const std::string bytes = test::random_text(3 * kMega, 3);
    auto output = AtomicOutput::create(temp.path() / "out", {{"a", bytes.size()}}, {});
    if (!output) return output.error().message;
    if (auto result = (*output)->write_at(0, 0, bytes_of(bytes)); !result) return message(result);
    if (auto result = (*output)->commit(); !result) return message(result);
    return contents(temp.path() / "out/a") == bytes ? "equal" : "different";
  });
  if (text == kNoMount) GTEST_SKIP() << text;
  EXPECT_EQ(text, "equal");
}

TEST(OutputFaults, FileSizeLimitIsSaidFirst) {
  const TempFolder temp;
  const std::string text = in_child([&] {
    const struct rlimit limit = {1000000, 1000000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return create_message(temp.path() / "out", 1000001);
  });
  EXPECT_EQ(text, (temp.path() / "out/model.onnx").string() +
                      ": file needs 1.0 MB (1000001 bytes), this process may "
                      "write files of 1.0 MB (1000000 bytes) (see ulimit -f)");
  EXPECT_THAT(temp.names(), ElementsAre());
}

class FailedWrite : public testing::TestWithParam<bool> {};

TEST_P(FailedWrite, KeepsTheOldOutput) {
  const TempFolder temp;
  put(temp.path() / "out/model.onnx", "old");
  const std::string text = in_child([&]() -> std::string {
    auto output = AtomicOutput::create(temp.path() / "out", {{"model.onnx", 3 * kMega}},
                                       {.force = true, .direct_io = GetParam()});
    if (!output) return output.error().message;
    // From byte 1,000,000 on the kernel refuses: the write that crosses it is short, then fails.
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {1000000, 1000000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string bytes = test::random_text(3 * kMega, 5);
    auto written = (*output)->write_at(0, 0, bytes_of(bytes));
    auto committed = (*output)->commit();
    return message(written) + " | " + message(committed);
  });
  const std::string out = (temp.path() / "out").string();
  EXPECT_EQ(text, out + "/model.onnx: cannot write at byte 1000000: File too large | " + out +
                      ": not finished: an earlier write failed");
  EXPECT_THAT(temp.names(), ElementsAre("out", "out/model.onnx"));
  EXPECT_EQ(contents(temp.path() / "out/model.onnx"), "old");
}

INSTANTIATE_TEST_SUITE_P(DirectOrNot, FailedWrite, testing::Bool());

TEST(OutputFaults, ReadOnlyFileSystemIsNamed) {
  const TempFolder temp;
  const std::string text = in_child([&]() -> std::string {
    if (!mount_tmpfs(temp.path(), "size=1m,ro")) return kNoMount;
    return create_message(temp.path() / "a/out", 10);
  });
  if (text == kNoMount) GTEST_SKIP() << text;
  EXPECT_EQ(text, temp.path().string() + ": folder cannot be written to: Read-only file system");
}

TEST(OutputFaults, FolderWithoutPermissionIsNamed) {
  const TempFolder temp;
  fs::permissions(temp.path(), fs::perms::owner_read | fs::perms::owner_exec |
                                   fs::perms::others_read | fs::perms::others_exec);
  const std::string text = in_child([&]() -> std::string {
    // Root may write everywhere: be nobody.
    if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return "still root";
    return create_message(temp.path() / "out", 10);
  });
  fs::permissions(temp.path(), fs::perms::owner_all);
  EXPECT_EQ(text, temp.path().string() + ": folder cannot be written to: Permission denied");
}

TEST(OutputFaults, MountPointIsNotReplaced) {
  const TempFolder temp;
  const std::string text = in_child([&]() -> std::string {
    if (!mount_tmpfs(temp.path(), "size=1m")) return kNoMount;
    return create_message(temp.path(), 10, true);
  });
  if (text == kNoMount) GTEST_SKIP() << text;
  EXPECT_EQ(text, temp.path().string() +
                      ": is a mount point and cannot be replaced (choose a path inside it)");
}

TEST(OutputFaults, KilledRunKeepsTheOldOutputAndTheNextCleansUp) {
  const TempFolder temp;
  put(temp.path() / "out/model.onnx", "old");
  const std::string text = in_child([&]() -> std::string {
    auto output =
        AtomicOutput::create(temp.path() / "out", {{"model.onnx", 3 * kMega}}, {.force = true});
    const std::string bytes = test::random_text(kMega, 5);
    if (output && (*output)->write_at(0, 0, bytes_of(bytes))) ::raise(SIGKILL);
    return "alive";
  });
  EXPECT_EQ(text, "died");
  EXPECT_EQ(temp.names().size(), 4u);  // the old folder and its file, the stale folder and its file
  EXPECT_EQ(contents(temp.path() / "out/model.onnx"), "old");

  // Refused for another reason, and still the leftover goes.
  EXPECT_THAT(create_message(temp.path() / "out", 10), HasSubstr("output exists"));
  EXPECT_THAT(temp.names(), ElementsAre("out", "out/model.onnx"));
}

}  // namespace
}  // namespace phiquant
