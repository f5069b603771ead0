// Every GGUF type against the blocks that llama.cpp's own quantizers wrote
// (tests/data/golden/make_gguf.py).
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

#include "quant/row_scheme.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

struct Case {
  std::string matrix;
  size_t rows = 0, k = 0;
  bool importance = false;
  uint64_t decoded_hash = 0;
  std::string blocks;
};

std::string read_file(const std::string& name) {
  std::ifstream file(PHIQUANT_TEST_DATA "/golden/gguf/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> read_floats(const std::string& name, size_t n) {
  const std::string bytes = read_file(name);
  std::vector<float> values(n);
  EXPECT_EQ(bytes.size(), n * 4) << name;
  std::memcpy(values.data(), bytes.data(), std::min(bytes.size(), n * 4));
  return values;
}

std::vector<Case> read_cases(const std::string& scheme) {
  std::istringstream in(read_file(scheme + ".gold"));
  std::vector<Case> cases;
  for (std::string line; std::getline(in, line);) {
    Case c;
    std::istringstream fields(line);
    fields >> c.matrix >> c.rows >> c.k >> c.importance >> std::hex >> c.decoded_hash;
    uint32_t size = 0;
    in.read(reinterpret_cast<char*>(&size), 4);
    c.blocks.resize(size);
    in.read(c.blocks.data(), size);
    EXPECT_TRUE(in && fields) << scheme << ".gold: truncated in case '" << line << "'";
    cases.push_back(std::move(c));
  }
  return cases;
}

uint64_t fnv1a(const std::vector<float>& values) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data());
  for (size_t i = 0; i < values.size() * 4; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
  return hash;
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const RowScheme& scheme : row_schemes())
    if (scheme.family == RowFamily::gguf) names.emplace_back(scheme.name);
  return names;
}

class GoldenRows : public testing::TestWithParam<std::string> {
 protected:
  // `rows_at_once`: the tile is encoded in pieces of so many rows.
  std::string encode(RowEncode function, const Case& c, size_t rows_at_once) const {
    const std::string rows_by_k = std::to_string(c.rows) + "x" + std::to_string(c.k);
    const std::vector<float> x = read_floats(c.matrix + "_" + rows_by_k + ".f32", c.rows * c.k);
    std::vector<float> importance;
    if (c.importance) importance = read_floats("importance_" + std::to_string(c.k) + ".f32", c.k);
    const size_t row_bytes = row_plane_bytes(*scheme_, {}, 0, c.k);
    // Not the value of a byte that the encoder forgot, whatever the golden one is.
    std::string out(c.rows * row_bytes, '\x5a');
    for (size_t row = 0; row < c.rows; row += rows_at_once) {
      const size_t n = std::min(rows_at_once, c.rows - row);
      function({x.data() + row * c.k, n, c.k, c.importance ? importance.data() : nullptr}, {},
               {reinterpret_cast<std::byte*>(out.data() + row * row_bytes)});
    }
    return out;
  }

  void check(RowEncode function, size_t rows_at_once, const std::string& who) const {
    const RowLayout layout = scheme_->layout({});
    for (const Case& c : cases_) {
      const std::string got = encode(function, c, rows_at_once);
      ASSERT_EQ(got.size(), c.blocks.size()) << who << ", matrix " << c.matrix;
      size_t differ = 0, first = 0;
      for (size_t i = 0; i < got.size(); ++i)
        if (got[i] != c.blocks[i] && ++differ == 1) first = i;
      const size_t block = first / layout.block_bytes[0];
      EXPECT_EQ(differ, 0u) << who << ", matrix " << c.matrix
                            << (c.importance ? " with importance" : "") << ": block " << block
                            << " (row " << block / (c.k / layout.block_size) << "), byte "
                            << first % layout.block_bytes[0] << " is the first to differ";
    }
  }

  const RowScheme* scheme_ = find_row_scheme(RowFamily::gguf, GetParam());
  std::vector<Case> cases_ = read_cases(GetParam());
};

TEST_P(GoldenRows, ReferenceGivesThePeersBlocks) {
  ASSERT_GE(cases_.size(), scheme_->uses_importance ? 6u : 3u);
  check(scheme_->encode_ref, 1000, "reference");
}

TEST_P(GoldenRows, EverySimdGivesThePeersBlocks) {
  for_each_simd([&](const std::string& simd) {
    check(scheme_->encode, 1000, simd);
    check(scheme_->encode, 1, simd + ", row by row");
    check(scheme_->encode, 4, simd + ", four rows at once");
  });
}

TEST_P(GoldenRows, DecodesAsThePeerDoes) {
  for_each_simd([&](const std::string& simd) {
    for (const Case& c : cases_) {
      std::vector<float> y(c.rows * c.k);
      scheme_->decode({reinterpret_cast<const std::byte*>(c.blocks.data())}, c.rows, c.k, {},
                      y.data());
      EXPECT_EQ(fnv1a(y), c.decoded_hash) << simd << ", matrix " << c.matrix;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Schemes, GoldenRows, testing::ValuesIn(scheme_names()),
                         [](const auto& test) { return test.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenRows);

}  // namespace
}  // namespace phiquant::test
