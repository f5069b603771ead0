#include "core/file_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <latch>
#include <thread>

#include "core/aligned_buffer.h"
#include "core/output_test_util.h"
#include "core/posix/file.h"

namespace phiquant {
namespace {

using test::bytes_of;
using test::contents;
using test::TempFolder;

// A proc file whose writes fail with EINVAL stands in for a file system that accepts O_DIRECT at
// open only.
TEST(FileWriter, FallsBackWhereDirectWritesAreRefused) {
  const TempFolder temp;
  const std::string bytes = test::random_text(30 * kDirectBlock + 77, 9);
  Fd plain = open_fd(temp.path() / "f", O_WRONLY | O_CREAT, 0666);
  Fd refusing = open_fd("/proc/self/oom_score_adj", O_WRONLY);
  if (!refusing) GTEST_SKIP() << "no /proc";
  FileWriter writer("f", std::move(refusing), std::move(plain), bytes.size());
  ASSERT_TRUE(writer.write_at(
      100, bytes_of(bytes).subspan(100)));  // gathers byte 100 on, falls back after block 0
  ASSERT_TRUE(writer.write_at(0, bytes_of(bytes).first(100)));
  ASSERT_TRUE(writer.finish());
  EXPECT_TRUE(contents(temp.path() / "f") == bytes);
}

// From now on pwrite(2) on `fd` at `offset` (below 4 GB) or behind it fails with EINVAL. For the
// whole life of the process.
bool refuse_writes(int fd, uint32_t offset) {
  constexpr uint32_t kArgument = offsetof(seccomp_data, args);
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwrite64, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArgument),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(fd), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArgument + 3 * sizeof(uint64_t)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, offset, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// A direct write that stops half way and is then refused: the page cache goes on from there. A file
// in memory that must not grow takes the first blocks only.
TEST(FileWriter, FallsBackAfterAPartOfADirectWrite) {
  const TempFolder temp;
  constexpr uint64_t kTaken = 20 * kDirectBlock;
  const std::string bytes = test::random_text(50 * kDirectBlock, 10);
  const std::string text = test::in_child([&]() -> std::string {
    Fd direct(::memfd_create("direct", MFD_ALLOW_SEALING));
    if (!direct || ::ftruncate(direct.get(), kTaken) != 0 ||
        ::fcntl(direct.get(), F_ADD_SEALS, F_SEAL_GROW) != 0 ||
        !refuse_writes(direct.get(), kTaken))
      return "not here";
    const int taken = ::dup(direct.get());
    Fd plain = open_fd(temp.path() / "f", O_WRONLY | O_CREAT, 0666);
    FileWriter writer("f", std::move(direct), std::move(plain), bytes.size());
    AlignedBuffer aligned;  // or the writer would take it in two steps
    std::memcpy(aligned.resize(bytes.size()), bytes.data(), bytes.size());
    if (const auto result = writer.write_at(0, {aligned.data(), bytes.size()}); !result)
      return result.error().message;
    std::string first(kTaken, 0);
    if (::pread(taken, first.data(), kTaken, 0) != static_cast<ssize_t>(kTaken) ||
        first != bytes.substr(0, kTaken))
      return "the direct part differs";
    return test::message(writer.finish());
  });
  if (text == "not here") GTEST_SKIP() << "no seccomp filters";
  EXPECT_EQ(text, "ok");
  EXPECT_TRUE(contents(temp.path() / "f") == std::string(kTaken, 0) + bytes.substr(kTaken));
}

// Threads fill the same blocks byte by byte, each every eighth one.
TEST(FileWriter, NeighboursShareBlocks) {
  const TempFolder temp;
  const std::string bytes = test::random_text(256 * kDirectBlock, 11);
  auto writer = FileWriter::create(temp.path() / "f", "f", bytes.size(), true);
  ASSERT_TRUE(writer);
  std::atomic<size_t> n_failed{0};
  std::latch start(8);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      for (size_t at = t; at < bytes.size(); at += 8)
        if (!(*writer)->write_at(at, bytes_of(bytes).subspan(at, 1))) ++n_failed;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(n_failed, 0u);
  ASSERT_TRUE((*writer)->finish());
  EXPECT_TRUE(contents(temp.path() / "f") == bytes);
}

TEST(FileWriter, FullDiskSaysNeedAndHave) {
  Fd full = open_fd("/dev/full", O_WRONLY);
  if (!full) GTEST_SKIP() << "no /dev/full";
  FileWriter writer("out/model.onnx", Fd(), std::move(full), 123456);
  const auto result = writer.write_at(10, bytes_of("hello"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::io);
  const std::string start =
      "out/model.onnx: cannot write at byte 10: No space left on device: file needs 123.5 kB "
      "(123456 bytes), file system has ";
  EXPECT_EQ(result.error().message.substr(0, start.size()), start);
}

TEST(FileWriter, DoesNotOpenWhatExists) {
  const TempFolder temp;
  test::put(temp.path() / "f", "x");
  const auto writer = FileWriter::create(temp.path() / "f", "shown", 10, true);
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().message, "shown: cannot create: File exists");
}

TEST(PosixFile, BytesText) {
  EXPECT_EQ(bytes_text(0), "0 bytes");
  EXPECT_EQ(bytes_text(999), "999 bytes");
  EXPECT_EQ(bytes_text(1000), "1.0 kB (1000 bytes)");
  EXPECT_EQ(bytes_text(999949), "999.9 kB (999949 bytes)");
  EXPECT_EQ(bytes_text(999950), "1.0 MB (999950 bytes)");
  EXPECT_EQ(bytes_text(15300000000), "15.3 GB (15300000000 bytes)");
}

}  // namespace
}  // namespace phiquant
