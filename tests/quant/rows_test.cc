// Every row scheme: the fast encoder and the decoder on every instruction set.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "quant/row_run.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

class Rows : public testing::TestWithParam<const RowScheme*> {
 protected:
  const RowScheme& scheme_ = *GetParam();
  const RowParams params_ = row_params_of(scheme_);
  const RowLayout layout_ = scheme_.layout(params_);
};

TEST_P(Rows, FastIsTheReferenceOnEverySimd) {
  unsigned seed = 1;
  for (const size_t blocks : {1u, 2u, 3u, 7u})
    for (const size_t n_rows : {1u, 2u, 5u, 9u}) {
      const size_t k = blocks * layout_.block_size;
      const std::vector<float> x = varied_rows(n_rows * k, ++seed);
      std::vector<float> importance = varied_rows(k, ++seed);
      for (float& v : importance) v = std::fabs(v);
      for (const float* weights : std::vector<const float*>{nullptr, importance.data()}) {
        const RowTile tile{x.data(), n_rows, k, weights};
        const RowBytes wanted = encode_rows(scheme_, scheme_.encode_ref, tile);
        for_each_simd([&](const std::string& simd) {
          const RowBytes got = encode_rows(scheme_, scheme_.encode, tile);
          EXPECT_TRUE(got == wanted)
              << simd << ", " << n_rows << " rows of " << k << (weights ? " with importance" : "");
        });
      }
    }
}

TEST_P(Rows, ImportanceMattersWhereItIsSaidTo) {
  const size_t k = 8 * layout_.block_size;
  const std::vector<float> x = varied_rows(k, 5);
  std::vector<float> importance(k, 1.0f);
  for (size_t i = 0; i < k; ++i) importance[i] = i % 3 ? 1e-3f : 10.0f;
  const RowBytes plain = encode_rows(scheme_, scheme_.encode, {x.data(), 1, k, nullptr});
  const RowBytes weighted =
      encode_rows(scheme_, scheme_.encode, {x.data(), 1, k, importance.data()});
  EXPECT_EQ(plain != weighted, scheme_.uses_importance);
}

TEST_P(Rows, DecodesTheSameOnEverySimd) {
  constexpr size_t kRows = 3;
  const size_t k = 3 * layout_.block_size;
  const std::vector<float> x = varied_rows(kRows * k, 9);
  const RowBytes bytes = encode_rows(scheme_, scheme_.encode_ref, {x.data(), kRows, k, nullptr});
  RowPlanesView view = {};
  for (size_t p = 0; p < kMaxRowPlanes; ++p)
    if (layout_.block_bytes[p]) view[p] = reinterpret_cast<const std::byte*>(bytes[p].data());
  std::vector<float> first;
  for_each_simd([&](const std::string& simd) {
    std::vector<float> y(kRows * k + 1, 77.0f);
    scheme_.decode(view, kRows, k, params_, y.data());
    EXPECT_EQ(y.back(), 77.0f) << simd;
    if (first.empty()) first = y;
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(y[i]), std::bit_cast<uint32_t>(first[i]))
          << simd << ", value " << i;
  });
}

std::vector<const RowScheme*> all_schemes() {
  std::vector<const RowScheme*> schemes;
  for (const RowScheme& scheme : row_schemes()) schemes.push_back(&scheme);
  return schemes;
}

INSTANTIATE_TEST_SUITE_P(Schemes, Rows, testing::ValuesIn(all_schemes()),
                         [](const auto& test) { return name_of(*test.param); });

}  // namespace
}  // namespace phiquant::test
