#include "core/input_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "core/output_test_util.h"

namespace phiquant {
namespace {

using test::put;
using test::TempFolder;
using testing::EndsWith;
namespace fs = std::filesystem;

std::string read_text(const ByteSource& source, uint64_t offset, size_t n) {
  std::string text(n, '?');
  const auto result = source.read(offset, std::as_writable_bytes(std::span(text)));
  return result ? text : result.error().message;
}

TEST(InputFile, ReadsRangesAndMaps) {
  const TempFolder temp;
  put(temp.path() / "f", "0123456789");
  const auto file = InputFile::open(temp.path() / "f");
  ASSERT_TRUE(file);
  EXPECT_EQ((*file)->size_bytes(), 10u);
  const auto range = file_range(*file, 3, 5);
  EXPECT_EQ(range->size_bytes(), 5u);
  EXPECT_EQ(read_text(*range, 1, 4), "4567");
  const auto mapped = (*file)->map();
  ASSERT_TRUE(mapped);
  for (int i = 0; i < 2; ++i) {  // dropped pages come back
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(mapped->data()), mapped->size()),
              "0123456789");
    (*file)->drop_mapped_pages();
  }
  EXPECT_EQ((*file)->map()->data(), mapped->data());
}

TEST(InputFile, MapsOnceFromManyThreads) {
  const TempFolder temp;
  put(temp.path() / "f", "0123456789");
  const auto file = InputFile::open(temp.path() / "f");
  ASSERT_TRUE(file);
  const std::byte* seen[8] = {};
  std::vector<std::thread> threads;
  for (auto& slot : seen) threads.emplace_back([&] { slot = (*file)->map()->data(); });
  for (auto& thread : threads) thread.join();
  for (const auto* address : seen) EXPECT_EQ(address, seen[0]);
}

TEST(InputFile, EmptyFileMapsToNothing) {
  const TempFolder temp;
  put(temp.path() / "f", "");
  const auto file = InputFile::open(temp.path() / "f");
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->map());
  EXPECT_TRUE((*file)->map()->empty());
  (*file)->drop_mapped_pages();
}

TEST(InputFile, KnowsItselfByInode) {
  const TempFolder temp;
  put(temp.path() / "f", "x");
  put(temp.path() / "g", "x");
  fs::create_hard_link(temp.path() / "f", temp.path() / "hard");
  fs::create_symlink("f", temp.path() / "soft");
  const auto file = InputFile::open(temp.path() / "soft");
  ASSERT_TRUE(file);
  EXPECT_TRUE((*file)->same_file(temp.path() / "f"));
  EXPECT_TRUE((*file)->same_file(temp.path() / "hard"));
  EXPECT_FALSE((*file)->same_file(temp.path() / "g"));
  EXPECT_FALSE((*file)->same_file(temp.path() / "missing"));
}

TEST(InputFile, RefusesWithTheReason) {
  const TempFolder temp;
  ASSERT_EQ(::mkfifo((temp.path() / "pipe").c_str(), 0600), 0);
  const auto missing = InputFile::open(temp.path() / "missing");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::io);
  EXPECT_EQ(missing.error().message,
            (temp.path() / "missing").string() + ": cannot open: No such file or directory");
  const auto folder = InputFile::open(temp.path());
  ASSERT_FALSE(folder);
  EXPECT_THAT(folder.error().message, EndsWith(": not a regular file: found a folder"));
  const auto pipe = InputFile::open(temp.path() / "pipe");  // and does not wait for a writer
  ASSERT_FALSE(pipe);
  EXPECT_THAT(pipe.error().message,
              EndsWith("/pipe: not a regular file: found a device, pipe or socket"));
}

TEST(InputFile, FileThatBecameShorterIsAnError) {
  const TempFolder temp;
  put(temp.path() / "f", "0123456789");
  const auto file = InputFile::open(temp.path() / "f");
  ASSERT_TRUE(file);
  fs::resize_file(temp.path() / "f", 4);
  EXPECT_THAT(
      read_text(*file_range(*file, 0, 10), 2, 6),
      EndsWith("/f: file ends at byte 4, had 10 when it was opened (changed by another program?)"));
}

TEST(MemorySource, Reads) {
  const auto source = memory_source("hello");
  EXPECT_EQ(source->size_bytes(), 5u);
  EXPECT_EQ(read_text(*source, 1, 3), "ell");
  EXPECT_EQ(read_text(*source, 5, 0), "");
}

}  // namespace
}  // namespace phiquant
