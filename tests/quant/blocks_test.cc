// The block schemes' fast encoders against their references, on every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "quant/block_run.h"
#include "quant/blocks/hqq.h"
#include "quant/kernels.h"
#include "quant/simd_levels.h"

namespace phiquant {
void PrintTo(const Scheme& scheme, std::ostream* out) { *out << scheme.name; }  // found by gtest
}  // namespace phiquant

namespace phiquant::test {
namespace {

float rounded(float v, DType type) {
  if (type == DType::f16) return f32_from_f16(f16_from_f32(v));
  return type == DType::bf16 ? f32_from_bf16(bf16_from_f32(v)) : v;
}

// Column c's kind of content; each breaks some shortcut.
float sample(size_t c, size_t k, std::mt19937& rng) {
  std::normal_distribution<float> normal(0.0f, 0.05f);
  const float v = normal(rng);
  switch (c % 18) {
    case 0:
      return 0.0f;
    case 1:
      return std::fabs(v) + 0.01f;
    case 2:
      return -std::fabs(v) - 0.5f;
    case 3:
      return 0.03125f * static_cast<float>(static_cast<int>(rng() % 33) - 16);  // ties
    case 4:
      return rng() % 40 == 0 ? 40.0f : v;  // outliers
    case 5:
      return v * 2e-5f;  // subnormal f16 scales
    case 6:
      return v * 1e-38f;  // subnormal floats
    case 7:
      return 0.3f;
    case 8:
      return -0.25f;
    case 9:
      return k % 2 ? 0.7f : -0.7f;  // equal extremes
    case 10:
      return std::clamp(v * 4e5f, -65000.0f, 65000.0f);
    case 11:
      return k % 16 == 5 ? -1.5f : 0.0f;
    case 12:
      return k % 3 ? -0.0f : 0.0f;  // zeros of both signs
    case 13:
      return v + 3.0f;
    case 14:
      return v * 1e-36f;  // 1 / scale near overflow
    case 15:
      return k % 2 ? -v : (k % 5 ? v : -0.0f);
    case 16:
      return rng() % 6 == 0 ? 1.0f + v * 3 : v;  // two clusters
    default:
      return v;
  }
}

// As sample(), without the columns that send a whole group of columns to the reference.
float calm_sample(size_t c, size_t k, std::mt19937& rng) {
  constexpr size_t kKinds[] = {1, 2, 3, 4, 7, 8, 9, 10, 13, 15, 16, 17};
  return sample(kKinds[c % std::size(kKinds)], k, rng);
}

// Ends of the float range: differences and squares overflow.
float extreme_sample(size_t c, std::mt19937& rng) {
  const int exponent = static_cast<int>(c % 11) * 25 - 125;
  const float v =
      std::ldexp(static_cast<float>(static_cast<int>(rng() % 2001) - 1000) / 1000.0f, exponent);
  return rng() % 5 == 0 ? 0.0f : v;
}

// Squared error of column c of a one-block weight: plain, and weighted as search does.
std::pair<double, double> column_error(const Weight& w, const Encoded& e, size_t c) {
  double squares = 0, plain = 0, weighted = 0;
  for (size_t k = 0; k < w.k; ++k) squares += std::pow(static_cast<double>(w.x[k * w.n + c]), 2);
  const double mean_root = std::sqrt(squares / static_cast<double>(w.k));
  for (size_t k = 0; k < w.k; ++k) {
    const double x = static_cast<double>(w.x[k * w.n + c]);
    const double level = e.code_values[k * w.n + c] - static_cast<double>(e.zero_values[c]);
    const double d = x - level * static_cast<double>(e.scale_values[c]);
    plain += d * d;
    weighted += (mean_root + std::fabs(x)) * d * d;
  }
  return {plain, weighted};
}

struct Outputs {
  std::vector<std::byte> codes;
  std::vector<float> scales, zero_points;
};

// Encodes one block; bytes that the encoder must not touch are 0xee.
Outputs run_block(BlockEncode encode, Packing packing, const SchemeParams& p, const BlockTile& tile,
                  bool with_zeros) {
  const size_t blob = p.block_size * p.bits / 8, gap = 5;
  const bool nbits = packing == Packing::nbits;
  Outputs o;
  o.codes.assign(nbits ? tile.n_cols * (blob + gap) : p.block_size * (tile.n_cols + gap),
                 std::byte{0xee});
  o.scales.assign(tile.n_cols + 1, -77.0f);
  o.zero_points.assign(tile.n_cols + 1, -77.0f);
  encode(tile, p,
         {o.codes.data(), nbits ? blob + gap : tile.n_cols + gap, o.scales.data(),
          with_zeros ? o.zero_points.data() : nullptr});
  return o;
}

// Bits, so that -0 and NaN count.
void expect_same_floats(const std::vector<float>& a, const std::vector<float>& b,
                        const char* what) {
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i]))
        << what << " of column " << i << ": " << a[i] << " and " << b[i];
}

struct Shape2 {
  size_t block, rows, cols;
};
constexpr Shape2 kShapes[] = {{32, 32, 37},   {32, 7, 36},    {16, 16, 18},   {64, 64, 18},
                              {128, 100, 19}, {256, 256, 18}, {256, 130, 17}, {48, 48, 20},
                              {40, 33, 16},   {512, 300, 17}, {32, 32, 1},    {32, 32, 16},
                              {16, 1, 35}};

class BlockSchemes : public testing::TestWithParam<Scheme> {
 protected:
  template <class Check>
  void for_each_case(const Check& check) const {
    for (const unsigned bits : {2u, 4u, 8u})
      for (const bool symmetric : {true, false})
        for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
          for (const Shape2& shape : kShapes) {
            const Scheme& s = GetParam();
            if (!(s.bits_mask & (1u << bits)) || !(symmetric ? s.symmetric : s.asymmetric))
              continue;
            check(SchemeParams{bits, static_cast<uint32_t>(shape.block), symmetric, dtype}, shape);
          }
  }
};

TEST_P(BlockSchemes, EverySimdGivesTheReferencesBytes) {
  const Scheme& scheme = GetParam();
  std::mt19937 rng(7);
  for_each_case([&](const SchemeParams& p, const Shape2& shape) {
    for (const std::string content : {"calm", "mixed", "extreme"}) {
      if (content == "extreme" && p.weight_dtype == DType::f16) continue;
      const size_t stride = shape.cols + 3;
      std::vector<float> x((shape.rows - 1) * stride +
                           shape.cols);  // ends with the last value: no room to over-read
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t k = i / stride, c = i % stride;
        const float v = content == "calm"    ? calm_sample(c, k, rng)
                        : content == "mixed" ? sample(c, k, rng)
                                             : extreme_sample(c, rng);
        x[i] = rounded(v, p.weight_dtype);
      }
      const BlockTile tile{x.data(), stride, shape.rows, shape.cols};
      for (const bool zeros : {true, false}) {
        const Outputs want = run_block(scheme.encode_ref, scheme.packing, p, tile, zeros);
        for_each_simd([&](const std::string& simd) {
          SCOPED_TRACE(simd + ", " + std::to_string(p.bits) + " bits, block " +
                       std::to_string(p.block_size) + ", " + std::to_string(shape.rows) +
                       " rows, " + std::to_string(shape.cols) + " columns, " +
                       std::string(dtype_name(p.weight_dtype)) +
                       (p.symmetric ? ", symmetric, " : ", asymmetric, ") + content);
          const Outputs got = run_block(scheme.encode, scheme.packing, p, tile, zeros);
          expect_same_floats(got.scales, want.scales, "scale");
          expect_same_floats(got.zero_points, want.zero_points, "zero point");
          ASSERT_EQ(got.codes, want.codes);
        });
        if (HasFatalFailure()) return;
      }
    }
  });
}

// Where the range holds zero, a value is at most one step from its neighbours on the grid: half a
// step by rounding, and another half where the zero point was rounded or the far end of a symmetric
// range clips.
TEST_P(BlockSchemes, ErrorIsAtMostOneStep) {
  const Scheme& scheme = GetParam();
  if (scheme.float_zero_points) GTEST_SKIP() << "hqq does not bound single values";
  std::mt19937 rng(11);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  for_each_case([&](const SchemeParams& p, const Shape2& shape) {
    if (p.weight_dtype != DType::f32 || scheme.name == "k_quant" || scheme.name == "search") return;
    Weight w{shape.rows, shape.cols, std::vector<float>(shape.rows * shape.cols)};
    for (float& v : w.x) v = normal(rng);
    for (size_t c = 0; c < w.n && w.k > 1; ++c)
      w.x[c] = -0.2f, w.x[w.n + c] = 0.2f;  // both signs in every block
    if (w.k == 1) return;
    const Encoded e = encode_weight(scheme, scheme.encode, p, w, true);
    for (size_t i = 0; i < w.x.size(); ++i) {
      const size_t c = i % w.n;
      int code = e.code_values[i];
      if (has_signed_codes(scheme, p)) code = static_cast<int8_t>(code);
      const double step = std::fabs(static_cast<double>(e.scale_values[c]));
      const double y =
          (code - static_cast<double>(e.zero_values[c])) * static_cast<double>(e.scale_values[c]);
      // The float operations before rounding move a code of up to 2^8 by at most 2^8 * 2^-22 steps.
      ASSERT_LE(std::fabs(y - static_cast<double>(w.x[i])), step * (1 + 0x1p-14))
          << p.bits << " bits, block " << p.block_size
          << (p.symmetric ? " symmetric" : " asymmetric");
    }
  });
}

// search keeps the default rule's scale unless another lowers the weighted error without raising
// the plain one. It compares float sums of up to 256 terms in eight parts, off by at most 2^-18 of
// themselves.
TEST(Search, NeverWorseThanTheDefaultRule) {
  const Scheme& plain = *find_block_scheme("matmul_nbits");
  const Scheme& search = *find_block_scheme("search");
  std::mt19937 rng(5);
  double default_total = 0, search_total = 0;
  for (const unsigned bits : {4u, 8u})
    for (const bool symmetric : {true, false})
      for (const DType dtype : {DType::f32, DType::f16})
        for (const size_t block : {16u, 32u, 128u, 256u}) {
          const SchemeParams p{bits, static_cast<uint32_t>(block), symmetric, dtype};
          const size_t columns =
              block < 100 ? 720 : 54;  // enough for trials that trade one error for the other
          Weight w{block, columns, std::vector<float>(block * columns)};
          for (size_t i = 0; i < w.x.size(); ++i)
            w.x[i] = rounded(calm_sample(i % columns, i / columns, rng), dtype);
          const Encoded a = encode_weight(plain, plain.encode, p, w, true);
          const Encoded b = encode_weight(search, search.encode, p, w, true);
          for (size_t c = 0; c < w.n; ++c) {
            const auto [plain_a, weighted_a] = column_error(w, a, c);
            const auto [plain_b, weighted_b] = column_error(w, b, c);
            EXPECT_LE(plain_b, plain_a * (1 + 0x1p-16)) << "column " << c << ", block " << block;
            EXPECT_LE(weighted_b, weighted_a * (1 + 0x1p-16))
                << "column " << c << ", block " << block;
            if (c % 12 == 11 && bits == 4) default_total += plain_a, search_total += plain_b;
          }
        }
  EXPECT_LT(search_total, 0.95 * default_total) << "normal weights: the search finds nothing";
}

INSTANTIATE_TEST_SUITE_P(Table, BlockSchemes,
                         testing::ValuesIn(block_schemes().begin(), block_schemes().end()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(BlockTable, FindsEveryNameAndNoOther) {
  for (const Scheme& scheme : block_schemes()) EXPECT_EQ(find_block_scheme(scheme.name), &scheme);
  EXPECT_EQ(find_block_scheme("nf4"), nullptr);
}

// The vector code rounds halves away from zero as trunc(v + 0.49999997). Exhaustive from 0.25
// (below, both give 0, as rounding is monotonic) to 256; larger values are clamped before.
TEST(Rounding, AlmostHalfRoundsHalvesAway) {
  const uint32_t first = std::bit_cast<uint32_t>(0.25f), last = std::bit_cast<uint32_t>(256.0f);
  uint64_t wrong = 0;
  for (uint32_t u = first; u <= last; ++u) {
    const float v = std::bit_cast<float>(u);
    wrong += std::trunc(v + quant::kAlmostHalf) != std::round(v);
  }
  EXPECT_EQ(wrong, 0u);
}

TEST(Hqq, PowerIsExactToFloat) {
  // The guess is within 9 %; each of six Newton steps turns an error e into about 5.5 e^2.
  for (float x = 1e-8f; x < 1e30f; x *= 1.37f) {
    const double want = std::pow(static_cast<double>(x), -static_cast<double>(0.3f));
    EXPECT_NEAR(quant::hqq::power_minus_0_3(static_cast<double>(x)) / want, 1.0, 1e-9) << x;
  }
}

TEST(Hqq, StepErrorsAreTheSameOnEverySimd) {
  std::mt19937 rng(3);
  for (const size_t rows : {64u, 40u}) {
    Weight w{rows, 37, std::vector<float>(rows * 37)};
    for (size_t i = 0; i < w.x.size(); ++i) w.x[i] = 10 * sample(i % 37, i / 37, rng);
    const BlockTile tile{w.x.data(), w.n, w.k, w.n};
    const SchemeParams p{4, 64, false, DType::f32};
    std::vector<double> want(20, 0.5);
    quant::hqq::add_step_errors_ref(tile, p, want.data());
    EXPECT_GT(want[0], want[1]);
    for_each_simd([&](const std::string& simd) {
      std::vector<double> got(20, 0.5);
      quant::hqq::add_step_errors(tile, p, got.data());
      EXPECT_EQ(got, want) << simd;
    });
  }
}

TEST(Hqq, StopsAfterTheFirstStepThatDoesNotHelp) {
  const double sums[] = {8, 6, 5, 5, 4};
  EXPECT_EQ(quant::hqq::steps_taken(sums, 5, 10), 4u);
  EXPECT_EQ(quant::hqq::steps_taken(sums, 3, 10), 3u);
  const double huge[] = {1e9, 1};
  EXPECT_EQ(quant::hqq::steps_taken(huge, 2, 10), 1u);  // the original starts from an error of 1e4
}

}  // namespace
}  // namespace phiquant::test
