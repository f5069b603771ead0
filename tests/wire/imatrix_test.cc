// Importance matrices in both formats.
#include "wire/imatrix.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/gguf_bytes.h"

namespace phiquant {
namespace {

using namespace test;
using testing::ElementsAre;
namespace fs = std::filesystem;

class ImatrixFile : public testing::Test {
 protected:
  ImatrixFile() {
    std::string name = (fs::temp_directory_path() / "phiquant_imatrix_XXXXXX").string();
    dir_ = ::mkdtemp(name.data());
  }
  ~ImatrixFile() override { fs::remove_all(dir_); }

  Result<Imatrix> read(const std::string& bytes) {
    std::ofstream(dir_ / "m", std::ios::binary) << bytes;
    return read_imatrix(dir_ / "m");
  }
  std::string error_of(const std::string& bytes) {
    const auto m = read(bytes);
    if (m) return "accepted";
    EXPECT_EQ(m.error().code, Errc::corrupt);
    return m.error().message.substr(m.error().message.find(": ") + 2);
  }

  fs::path dir_;
};

std::string floats(std::initializer_list<float> values) {
  std::string out;
  for (const float v : values) out += raw(v);
  return out;
}

std::string text32(const std::string& text) {
  return raw(static_cast<int32_t>(text.size())) + text;
}

// 2 experts of 3 columns, the second one never used.
GgufBytes two_experts() {
  return {
      .keys = {gguf_key("imatrix.datasets", 9, raw(8u) + raw<uint64_t>(1) + gguf_text("calib.txt")),
               gguf_key("imatrix.chunk_count", 4, raw(40u))},
      .tensors = {gguf_tensor("w.in_sum2", {3, 2}, 0, 0), gguf_tensor("w.counts", {1, 2}, 0, 32),
                  gguf_tensor("w.in_sum", {3, 2}, 0, 64)},
      .data = floats({2, 4, 6, 9, 9, 9}) + std::string(8, '\0') + floats({2, 0}) +
              std::string(24, '\0') + floats({1, 1, 1, 1, 1, 1})};
}

TEST_F(ImatrixFile, Gguf) {
  const auto m = read(two_experts().bytes());
  ASSERT_TRUE(m) << m.error().message;
  ASSERT_EQ(m->entries.size(), 1u);
  EXPECT_THAT(*m->entries.at("w"), ElementsAre(1, 2, 3, 1, 1, 1));
  EXPECT_EQ(m->dataset, "calib.txt");
  EXPECT_EQ(m->n_chunks, 40);
}

TEST_F(ImatrixFile, OlderFormat) {
  const std::string entries = raw(2) + text32("a") + raw(4) + raw(2) + floats({2, 6}) +
                              text32("b") + raw(0) + raw(1) + floats({5});
  const auto m = read(entries + raw(7) + text32("calib.txt"));
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_THAT(*m->entries.at("a"), ElementsAre(0.5f, 1.5f));
  EXPECT_THAT(*m->entries.at("b"), ElementsAre(5));
  EXPECT_EQ(m->n_chunks, 7);
  EXPECT_EQ(m->dataset, "calib.txt");
  EXPECT_TRUE(read(entries));  // the trailer came later
}

TEST_F(ImatrixFile, RefusesBadFiles) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_THAT(error_of(""), testing::HasSubstr("imatrix ends at byte 0"));
  EXPECT_THAT(error_of(raw(0)), testing::HasSubstr("is no imatrix"));
  EXPECT_THAT(error_of(raw(1) + raw(-1)), testing::HasSubstr("in the middle of an entry"));
  EXPECT_THAT(error_of(raw(1) + text32("a") + raw(1) + raw(1 << 30)),
              testing::HasSubstr("in the middle of an entry"));
  EXPECT_EQ(error_of(raw(1) + text32("a") + raw(1) + raw(1) + floats({inf})),
            "imatrix entry 'a': a value of inf, wanted finite numbers >= 0");
  EXPECT_EQ(error_of(raw(1) + text32("a") + raw(1) + raw(1) + floats({-1})),
            "imatrix entry 'a': a value of -1, wanted finite numbers >= 0");
  const std::string one = text32("a") + raw(1) + raw(1) + floats({1});
  EXPECT_EQ(error_of(raw(2) + one + one), "imatrix entry 'a': occurs twice");

  GgufBytes file = two_experts();
  file.tensors[1] = gguf_tensor("v.counts", {1, 2}, 0, 32);
  EXPECT_THAT(error_of(file.bytes()), testing::HasSubstr("has not both of"));
  file = two_experts();
  file.tensors[1] = gguf_tensor("w.counts", {4}, 0, 32);
  EXPECT_EQ(error_of(file.bytes()), "imatrix entry 'w': 4 counts for 6 sums");
  file = two_experts();
  file.tensors[1] = gguf_tensor("w.counts", {1, 2}, 1, 32);
  EXPECT_EQ(error_of(file.bytes()), "imatrix entry 'w': wanted float32 sums and counts");
  file.tensors.clear();
  EXPECT_THAT(error_of(file.bytes()), testing::HasSubstr("holds no entries"));
}

}  // namespace
}  // namespace phiquant
