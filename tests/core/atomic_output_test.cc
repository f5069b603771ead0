#include "core/atomic_output.h"
#include "core/aligned_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <numeric>
#include <thread>
#include <tuple>

#include "core/output_test_util.h"

namespace phiquant {
namespace {

using test::bytes_of;
using test::contents;
using test::message;
using test::put;
using test::TempFolder;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

Result<std::unique_ptr<AtomicOutput>> create_folder(const fs::path& path, uint64_t size = 5,
                                                    bool force = false) {
  return AtomicOutput::create(path, {{"model.onnx", size}}, {.is_directory = true, .force = force});
}

TEST(AtomicOutput, WritesAFolder) {
  const TempFolder temp;
  auto output = AtomicOutput::create(temp.path() / "a/b",
                                     {{"model.onnx", 5}, {"sub/data.bin", 3}, {"empty", 0}}, {});
  ASSERT_TRUE(output);
  ASSERT_TRUE((*output)->write_at(1, 0, bytes_of("xyz")));
  ASSERT_TRUE((*output)->write_at(0, 0, bytes_of("hello")));
  EXPECT_FALSE(fs::exists(temp.path() / "a/b"));
  ASSERT_TRUE((*output)->commit());
  output->reset();
  EXPECT_THAT(temp.names(), ElementsAre("a", "a/b", "a/b/empty", "a/b/model.onnx", "a/b/sub",
                                        "a/b/sub/data.bin"));
  EXPECT_EQ(contents(temp.path() / "a/b/model.onnx"), "hello");
  EXPECT_EQ(contents(temp.path() / "a/b/sub/data.bin"), "xyz");
}

TEST(AtomicOutput, WritesASingleFile) {
  const TempFolder temp;
  auto output = AtomicOutput::create(temp.path() / "m.onnx", {{"", 5}}, {.is_directory = false});
  ASSERT_TRUE(output);
  ASSERT_TRUE((*output)->write_at(0, 2, bytes_of("llo")));
  ASSERT_TRUE((*output)->write_at(0, 0, bytes_of("he")));
  ASSERT_TRUE((*output)->commit());
  output->reset();
  EXPECT_THAT(temp.names(), ElementsAre("m.onnx"));
  EXPECT_EQ(contents(temp.path() / "m.onnx"), "hello");
}

TEST(AtomicOutput, AbandonedLeavesNothing) {
  const TempFolder temp;
  {
    auto output = create_folder(temp.path() / "a/b/c");
    ASSERT_TRUE(output);
    ASSERT_TRUE((*output)->write_at(0, 0, bytes_of("he")));
    EXPECT_GT(temp.names().size(), 2u);
  }
  EXPECT_THAT(temp.names(), ElementsAre());
}

TEST(AtomicOutput, AbandonedWithForceKeepsTheOldOutput) {
  const TempFolder temp;
  put(temp.path() / "out/model.onnx", "old");
  ASSERT_TRUE(create_folder(temp.path() / "out", 5, true));
  EXPECT_THAT(temp.names(), ElementsAre("out", "out/model.onnx"));
  EXPECT_EQ(contents(temp.path() / "out/model.onnx"), "old");
}

TEST(AtomicOutput, ForceReplacesAFolderWhole) {
  const TempFolder temp;
  put(temp.path() / "out/model.onnx", "old");
  put(temp.path() / "out/model.onnx.data", "older");
  auto output = create_folder(temp.path() / "out/", 5, true);
  ASSERT_TRUE(output) << output.error().message;
  ASSERT_TRUE((*output)->write_at(0, 0, bytes_of("hello")));
  EXPECT_EQ(contents(temp.path() / "out/model.onnx"), "old");
  ASSERT_TRUE((*output)->commit());
  output->reset();
  EXPECT_THAT(temp.names(), ElementsAre("out", "out/model.onnx"));
  EXPECT_EQ(contents(temp.path() / "out/model.onnx"), "hello");
}

TEST(AtomicOutput, ForceReplacesAFile) {
  const TempFolder temp;
  put(temp.path() / "m.onnx", "old content");
  auto output = AtomicOutput::create(temp.path() / "m.onnx", {{"", 5}},
                                     {.is_directory = false, .force = true});
  ASSERT_TRUE(output);
  ASSERT_TRUE((*output)->write_at(0, 0, bytes_of("hello")));
  ASSERT_TRUE((*output)->commit());
  output->reset();
  EXPECT_THAT(temp.names(), ElementsAre("m.onnx"));
  EXPECT_EQ(contents(temp.path() / "m.onnx"), "hello");
}

TEST(AtomicOutput, FollowsALinkToTheRealPlace) {
  const TempFolder temp;
  fs::create_directory(temp.path() / "disk");
  fs::create_directory_symlink(temp.path() / "disk", temp.path() / "link");
  auto output = create_folder(temp.path() / "link/out");
  ASSERT_TRUE(output);
  ASSERT_TRUE((*output)->commit());
  EXPECT_TRUE(fs::exists(temp.path() / "disk/out/model.onnx"));
}

TEST(AtomicOutput, RefusesWithTheReason) {
  const TempFolder temp;
  put(temp.path() / "file", "x");
  put(temp.path() / "out/model.onnx", "old");
  put(temp.path() / "home/thesis.txt", "years of work");
  fs::create_symlink(temp.path() / "nowhere", temp.path() / "dangling");
  const auto before = temp.names();
  const auto refusal = [&](const std::string& name, bool is_directory, bool force) {
    const auto spec = OutputFileSpec{is_directory ? "model.onnx" : "", 5};
    auto output = AtomicOutput::create(temp.path() / name, {spec},
                                       {.is_directory = is_directory, .force = force});
    if (output) return std::string("accepted");
    EXPECT_EQ(output.error().code, name == "file/out" ? Errc::io : Errc::usage) << name;
    return output.error().message;
  };
  EXPECT_EQ(refusal("out", true, false),
            (temp.path() / "out").string() + ": output exists (try --force to replace it)");
  EXPECT_THAT(refusal("file", false, false), HasSubstr("file: output exists (try --force"));
  EXPECT_THAT(refusal("file", true, true), HasSubstr("file: is a file, the output is a folder"));
  EXPECT_THAT(refusal("out", false, true), HasSubstr("out: is a folder, the output is a file"));
  EXPECT_THAT(refusal("dangling", true, true),
              HasSubstr("dangling: is a symbolic link to nothing"));
  EXPECT_THAT(refusal("home", true, true),
              HasSubstr("home: --force does not replace a folder that is no earlier output"));
  EXPECT_THAT(refusal("file/out", true, false),
              HasSubstr("file: cannot hold the output: Not a directory"));
  EXPECT_EQ(temp.names(), before);
}

TEST(AtomicOutput, AnotherNumberOfPartsIsAnEarlierOutput) {
  const TempFolder temp;
  const auto accepts = [&](const std::string& present, const std::string& wanted) {
    put(temp.path() / "out" / present, "old");
    const bool ok =
        AtomicOutput::create(temp.path() / "out", {{wanted, 5}}, {.force = true}).has_value();
    fs::remove_all(temp.path() / "out");
    return ok;
  };
  const std::string wanted = "out-00001-of-00002.gguf";
  EXPECT_TRUE(accepts("out-00003-of-00011.gguf", wanted));
  for (const char* other : {"my-00001-of-00002.gguf", "out-00001-of-00002.pdf",
                            "out-00001-of-.gguf", "out--of-00002.gguf", "out-first-of-00002.gguf",
                            "out00001-of-00002.gguf", "out.gguf", "-of-00002.gguf"})
    EXPECT_FALSE(accepts(other, wanted)) << other;
  EXPECT_FALSE(accepts("model-of-5.onnx", "model-of-6.onnx"));
}

TEST(AtomicOutput, RefusesTheRootAndTheWorkingFolder) {
  const auto root = create_folder("/", 5, true);
  ASSERT_FALSE(root);
  EXPECT_EQ(root.error().message, "/: the root folder cannot be an output");
  const auto here = create_folder(".", 5, true);
  ASSERT_FALSE(here);
  EXPECT_EQ(here.error().code, Errc::usage);
  EXPECT_THAT(here.error().message,
              HasSubstr(".: cannot replace the folder that is or holds the working folder"));
}

TEST(AtomicOutput, WithoutForceNeverReplacesWhatAppearedMeanwhile) {
  const TempFolder temp;
  auto first = create_folder(temp.path() / "out");
  auto second = create_folder(temp.path() / "out");
  ASSERT_TRUE(first && second);
  ASSERT_TRUE((*first)->write_at(0, 0, bytes_of("first")));
  ASSERT_TRUE((*second)->write_at(0, 0, bytes_of("secnd")));
  ASSERT_TRUE((*first)->commit());
  const auto result = (*second)->commit();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::usage);
  second->reset();
  EXPECT_THAT(temp.names(), ElementsAre("out", "out/model.onnx"));
  EXPECT_EQ(contents(temp.path() / "out/model.onnx"), "first");
}

TEST(AtomicOutput, CleansStaleTemporariesOnly) {
  const TempFolder temp;
  put(temp.path() / ".out.phiquant-0123456789abcdef/model.onnx", "left by a killed run");
  put(temp.path() / ".out.phiquant-0123456789abcde/model.onnx", "one digit short: not ours");
  put(temp.path() / ".other.phiquant-0123456789abcdef/model.onnx", "of another target");
  auto live = create_folder(temp.path() / "out");
  ASSERT_TRUE(live);
  auto next = create_folder(temp.path() / "out");  // must not disturb the live one
  ASSERT_TRUE(next);
  next->reset();
  ASSERT_TRUE((*live)->write_at(0, 0, bytes_of("hello")));
  ASSERT_TRUE((*live)->commit());
  EXPECT_THAT(
      temp.names(),
      ElementsAre(".other.phiquant-0123456789abcdef", ".other.phiquant-0123456789abcdef/model.onnx",
                  ".out.phiquant-0123456789abcde", ".out.phiquant-0123456789abcde/model.onnx",
                  "out", "out/model.onnx"));
}

TEST(AtomicOutput, TakesTheLongestNames) {
  const TempFolder temp;
  const std::string name(255, 'n');
  auto output = create_folder(temp.path() / name);
  ASSERT_TRUE(output) << output.error().message;
  ASSERT_TRUE((*output)->commit());
  EXPECT_TRUE(fs::exists(temp.path() / name / "model.onnx"));
}

// threads, direct I/O, buffers aligned to the file offset
class OutOfOrder : public testing::TestWithParam<std::tuple<unsigned, bool, bool>> {};

TEST_P(OutOfOrder, EveryByteArrives) {
  const auto [n_threads, direct_io, congruent] = GetParam();
  const TempFolder temp;
  constexpr size_t kSize = 5 * 1024 * 1024 + 1234;
  std::string wanted = test::random_text(kSize, 7);
  std::mt19937 random(n_threads);
  struct Piece {
    size_t begin, end;
  };
  std::vector<Piece> pieces;
  for (size_t at = 0; at < kSize;) {
    constexpr size_t kLengths[] = {1, 100, 4095, 4096, 4097, 12288, 70000, 1300000};
    const size_t end = std::min(kSize, at + kLengths[random() % std::size(kLengths)]);
    if (random() % 8 == 0)
      std::fill(wanted.begin() + static_cast<long>(at), wanted.begin() + static_cast<long>(end),
                '\0');  // a gap
    else
      pieces.push_back({at, end});
    at = end;
  }
  std::shuffle(pieces.begin(), pieces.end(), random);

  auto output = AtomicOutput::create(temp.path() / "m", {{"", kSize}},
                                     {.is_directory = false, .direct_io = direct_io});
  ASSERT_TRUE(output);
  std::atomic<size_t> next{0}, n_failed{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < n_threads; ++t)
    threads.emplace_back([&] {
      AlignedBuffer buffer;
      for (size_t i = 0; (i = next++) < pieces.size();) {
        const auto [begin, end] = pieces[i];
        std::byte* const copy = buffer.resize(end - begin, congruent ? begin : begin + 64);
        std::memcpy(copy, wanted.data() + begin, end - begin);
        if (!(*output)->write_at(0, begin, {copy, end - begin})) ++n_failed;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(n_failed, 0u);
  ASSERT_TRUE((*output)->commit());
  const std::string found = contents(temp.path() / "m");
  ASSERT_EQ(found.size(), wanted.size());
  const auto differ = std::mismatch(found.begin(), found.end(), wanted.begin());
  EXPECT_TRUE(differ.first == found.end()) << "first at byte " << differ.first - found.begin();
}

INSTANTIATE_TEST_SUITE_P(All, OutOfOrder,
                         testing::Combine(testing::Values(1u, 8u), testing::Bool(),
                                          testing::Bool()));

TEST(AlignedBuffer, KeepsPhaseAndCapacity) {
  AlignedBuffer buffer;
  for (const size_t phase : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{9000}}) {
    std::byte* const data = buffer.resize(100000, phase);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 4096, phase % 4096);
    EXPECT_EQ(buffer.size(), 100000u);
    std::memset(data, 1, buffer.size());
  }
  const std::byte* const before = buffer.resize(100000, 0);
  EXPECT_EQ(buffer.resize(500, 0), before);
  EXPECT_EQ(buffer.size(), 500u);
}

TEST(PathIsWithin, ResolvesLinksAndDots) {
  const TempFolder temp;
  put(temp.path() / "out/model.onnx", "x");
  fs::create_directory_symlink(temp.path() / "out", temp.path() / "link");
  EXPECT_TRUE(path_is_within(temp.path() / "out/model.onnx", temp.path() / "out"));
  EXPECT_TRUE(path_is_within(temp.path() / "out/model.onnx", temp.path() / "link/"));
  EXPECT_TRUE(path_is_within(temp.path() / "out/../out", temp.path() / "out"));
  EXPECT_FALSE(path_is_within(temp.path() / "out/model.onnx", temp.path() / "ou"));
  EXPECT_FALSE(path_is_within(temp.path(), temp.path() / "out"));
}

}  // namespace
}  // namespace phiquant
