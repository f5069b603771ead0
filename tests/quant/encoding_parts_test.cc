// The parts of every encoding of the table: against its whole-block kernels, and under a method
// that knows nothing but the parts.
#include <gtest/gtest.h>

#include <limits>

#include "quant/parts_run.h"

namespace phiquant::test {
namespace {

class Parts {
 public:
  explicit Parts(const PartsCase& c) : case_(c) {}
  void shape_is_whole() const;
  void make_the_peers_bytes() const;
  void weights_are_an_imatrix() const;
  void every_code_comes_back() const;
  void round_takes_the_nearest() const;
  void error_feedback_needs_no_bytes() const;

 private:
  const PartsCase& case_;
  const EncodingParts& parts_ = *case_.encoding->parts;
  const BlockSpec& spec_ = case_.spec;
  const BlockShape shape_ = parts_.shape(spec_);
  const size_t subs_ = shape_.values / shape_.sub_block;

  std::vector<std::vector<float>> values(size_t n) const {
    return parts_values(n, spec_.scale_dtype);
  }
  Grid fit(const std::vector<float>& x, std::span<const float> weights = {}) const {
    Grid g;
    parts_.fit(x, weights, spec_, g);
    return g;
  }
  std::vector<uint8_t> round_all(const std::vector<float>& x, const Grid& g) const {
    std::vector<uint8_t> codes;
    for (size_t i = 0; i < x.size(); ++i) codes.push_back(parts_.round(x[i], i, g, spec_));
    return codes;
  }
  PlaneBytes pack(const std::vector<uint8_t>& codes, const Grid& g) const {
    PlaneBytes bytes = make_planes(shape_, 1);
    parts_.pack(codes, g, spec_, planes_of(bytes, shape_));
    return bytes;
  }
  // Code number c of n_codes, as pack() takes it.
  uint8_t code(int c) const { return static_cast<uint8_t>(shape_.lowest_code + c); }
  // Whether codes come from the grid alone, so that the peer has them too.
  bool has_peers_codes(const Grid& g) const {
    const auto* end = g.scale.data() + subs_;
    return parts_.peer == PeerRule::parts || std::find(g.scale.data(), end, 0.0f) == end;
  }
};

void Parts::shape_is_whole() const {
  ASSERT_GT(shape_.values, 0u);
  EXPECT_EQ(shape_.values % shape_.sub_block, 0u);
  EXPECT_LE(subs_, Grid::kSubs);
  EXPECT_GE(shape_.n_codes, 3);
  EXPECT_LE(shape_.n_codes, 256);
}

// Fit, round and pack make the bytes of the peer's kernel, on the fastest instruction set there is.
void Parts::make_the_peers_bytes() const {
  std::vector<size_t> sizes = {shape_.values};
  if (!case_.encoding->rows && spec_.params.block_size) sizes.push_back(shape_.values - 5);
  for (const size_t n : sizes) {
    const auto all = values(n);
    for (size_t kind = 0; kind < all.size(); ++kind) {
      const std::vector<float>& x = all[kind];
      const Grid g = fit(x);
      PlaneBytes got = pack(round_all(x, g), g), want = encode_whole(case_, x);
      if (shape_.planes[0].flat_bits) {  // as many bytes as values
        got[0].resize(n);
        want[0].resize(n);
      }
      if (has_peers_codes(g)) {
        for (size_t p = 0; p < kMaxPlanes; ++p)
          ASSERT_TRUE(got[p] == want[p]) << "plane " << p << ", values " << kind << ", n " << n;
        continue;
      }
      // Any code times a scale of 0, of either sign.
      const auto a = decode_whole(case_, view_of(got, shape_), n),
                 b = decode_whole(case_, view_of(want, shape_), n);
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(a[i], b[i]) << "value " << i << ", values " << kind;
    }
  }
}

// The scales are those that the kernel finds with an imatrix, a row being one block.
void Parts::weights_are_an_imatrix() const {
  if (!case_.encoding->rows || !case_.encoding->rows->uses_importance) return;
  std::vector<float> weights(shape_.values);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = i % 3 ? 1e-3f : 10.0f;
  bool matters = false;
  for (const std::vector<float>& x : values(shape_.values)) {
    const PlaneBytes bytes = encode_whole(case_, x, weights.data());
    std::vector<uint8_t> codes(shape_.values);
    Grid want;
    parts_.unpack(view_of(bytes, shape_), spec_, want, codes);
    ASSERT_TRUE(same_stored(fit(x, weights), want, subs_));
    matters = matters || !same_stored(fit(x), want, subs_);
  }
  EXPECT_TRUE(matters);
}

// Every code at every place, under grids of all sizes: what was packed comes back, and the decoder
// of whole blocks reads what decode() says.
void Parts::every_code_comes_back() const {
  const auto all = values(shape_.values);
  for (const size_t kind : {0u, 3u, 5u, 6u, 7u, 13u, 15u}) {
    const Grid g = fit(all[kind]);
    for (int first = 0; first < shape_.n_codes; ++first) {
      std::vector<uint8_t> codes(shape_.values), back(shape_.values);
      for (size_t i = 0; i < codes.size(); ++i)
        codes[i] = code((first + static_cast<int>(i * 7)) % shape_.n_codes);
      const PlaneBytes bytes = pack(codes, g);
      Grid stored;
      parts_.unpack(view_of(bytes, shape_), spec_, stored, back);
      ASSERT_EQ(codes, back);
      ASSERT_TRUE(same_stored(g, stored, subs_));
      const auto y = decode_whole(case_, view_of(bytes, shape_), codes.size());
      for (size_t i = 0; i < codes.size(); ++i)
        ASSERT_TRUE(same_float(parts_.decode(codes[i], i, g, spec_), y[i]))
            << "value " << i << ", code " << int{codes[i]};
    }
  }
}

// round() takes the nearest value of the grid, up to this. Let R be the largest magnitude in the
// grid and of its offset, u the unit roundoff of the stored scales. Codes may be rounded under
// scales before they are stored, which moves every value of the grid by at most u (|scale code| +
// |offset|) <= 3 u R, once where the code is chosen and once where it is read; arithmetic in that
// type rounds a quotient and a sum, twice u of a span of 2 R, and doing so for both candidates
// doubles it. 2 * 3 + 2 * 4 < 16. Float arithmetic has less than 16 roundings of 2^-24.
void Parts::round_takes_the_nearest() const {
  const bool halves = case_.encoding->layout == Layout::gguf || spec_.scale_dtype == DType::f16;
  const float u = halves ? 0x1p-11f : spec_.scale_dtype == DType::bf16 ? 0x1p-8f : 0x1p-22f;
  std::mt19937 rng(3);
  const auto all = values(shape_.values);
  for (const size_t kind : {4u, 5u, 11u, 14u, 15u}) {  // of ordinary size: no subnormal scales
    const Grid g = fit(all[kind]);
    for (size_t i = 0; i < shape_.values; i += 5) {
      const auto at = [&](int c) { return parts_.decode(code(c), i, g, spec_); };
      float largest = std::fabs(g.offset[i / shape_.sub_block] *
                                (case_.encoding->rows ? 1 : g.scale[i / shape_.sub_block]));
      for (int c = 0; c < shape_.n_codes; ++c) largest = std::max(largest, std::fabs(at(c)));
      const auto rounded = [&](float x) {
        return parts_.decode(parts_.round(x, i, g, spec_), i, g, spec_);
      };
      const float low = rounded(-8 * largest), high = rounded(8 * largest);
      ASSERT_LE(low, high);
      const float x = low + (high - low) * static_cast<float>(rng() % 10001) / 10000.0f;
      float best = std::numeric_limits<float>::infinity();
      for (int c = 0; c < shape_.n_codes; ++c)
        if (at(c) >= low && at(c) <= high) best = std::min(best, std::fabs(x - at(c)));
      ASSERT_LE(std::fabs(x - rounded(x)), best + 16 * u * largest)
          << "values " << kind << ", value " << i << ", x " << x;
    }
  }
}

// A method by error feedback, in miniature: value by value, what rounding lost goes to the values
// after it, also across blocks, whose scales are fitted when they are reached. It knows the parts
// and nothing else. What it thinks the weight has become is what the decoder reads.
void Parts::error_feedback_needs_no_bytes() const {
  constexpr size_t kBlocks = 3;
  std::vector<float> row;
  for (const size_t kind : {15u, 5u, 13u}) {
    const auto x = values(shape_.values)[kind];
    row.insert(row.end(), x.begin(), x.end());
  }
  const std::vector<float> before = row;
  PlaneBytes bytes = make_planes(shape_, kBlocks);
  std::vector<float> thought(row.size());
  for (size_t b = 0; b < kBlocks; ++b) {
    const size_t first = b * shape_.values;
    const Grid g = fit({row.begin() + static_cast<ptrdiff_t>(first),
                        row.begin() + static_cast<ptrdiff_t>(first + shape_.values)});
    std::vector<uint8_t> codes(shape_.values);
    for (size_t i = 0; i < codes.size(); ++i) {
      const size_t at = first + i;
      codes[i] = parts_.round(row[at], i, g, spec_);
      thought[at] = parts_.decode(codes[i], i, g, spec_);
      const float lost = row[at] - thought[at];
      if (at + 1 < row.size()) row[at + 1] += 0.5f * lost;
      if (at + 2 < row.size()) row[at + 2] += 0.25f * lost;
    }
    parts_.pack(codes, g, spec_, planes_of(bytes, shape_, b));
  }
  for (size_t b = 0; b < kBlocks; ++b) {
    const auto y = decode_whole(case_, view_of(bytes, shape_, b), shape_.values);
    for (size_t i = 0; i < shape_.values; ++i) {
      const float want = thought[b * shape_.values + i];
      ASSERT_TRUE(std::isfinite(want));
      ASSERT_TRUE(same_float(y[i], want)) << "block " << b << ", value " << i;
    }
  }
  EXPECT_NE(row, before);
}

// The parts of one encoding, with all that it leaves open.
class PartsOf : public testing::TestWithParam<const Encoding*> {
 protected:
  void check(void (Parts::*property)() const) {
    for (const PartsCase& c : parts_cases()) {
      if (c.encoding != GetParam()) continue;
      SCOPED_TRACE(c.name);
      (Parts(c).*property)();
      if (HasFatalFailure()) return;
    }
  }
};

TEST_P(PartsOf, ShapeIsWhole) { check(&Parts::shape_is_whole); }
TEST_P(PartsOf, MakeThePeersBytes) { check(&Parts::make_the_peers_bytes); }
TEST_P(PartsOf, WeightsAreAnImatrix) { check(&Parts::weights_are_an_imatrix); }
TEST_P(PartsOf, EveryCodeComesBack) { check(&Parts::every_code_comes_back); }
TEST_P(PartsOf, RoundTakesTheNearest) { check(&Parts::round_takes_the_nearest); }
TEST_P(PartsOf, ErrorFeedbackNeedsNoBytes) { check(&Parts::error_feedback_needs_no_bytes); }

std::vector<const Encoding*> all_encodings() {
  std::vector<const Encoding*> all;
  for (const Encoding& e : encodings()) all.push_back(&e);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Table, PartsOf, testing::ValuesIn(all_encodings()),
                         [](const auto& test) { return name_of(*test.param); });

TEST(EncodingTable, EveryEncodingIsTried) {
  const auto cases = parts_cases();
  for (const Encoding& e : encodings()) {
    ASSERT_NE(e.parts, nullptr) << e.name;
    EXPECT_FALSE(e.summary.empty()) << e.name;
    EXPECT_EQ(find_encoding(e.layout, e.name), &e);
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&](const PartsCase& c) {
      return c.encoding == &e;
    })) << e.name;
  }
  EXPECT_EQ(&onnx_encoding(Layout::dynamic),
            find_encoding(Layout::dynamic, "DynamicQuantizeLinear"));
}

// Each choice of an encoding has a kernel, and each kernel is an offer of some encoding.
TEST(EncodingTable, OffersWhatThereAreKernelsFor) {
  for (const Encoding& e : encodings()) {
    unsigned bits = 0;
    for (const Method& m : methods())
      if (const auto pair = offered(e, m)) bits |= pair->bits;
    EXPECT_EQ(bits, e.parts->choices.bits) << e.name;
    EXPECT_TRUE(offered(e, peer_method())) << e.name;
  }
  for (const Scheme& kernel : block_schemes()) {
    bool found = false;
    for (const Encoding& e : encodings()) {
      if (block_kernel(e, *find_method(kernel.method)) != &kernel) continue;
      const auto pair = offered(e, *find_method(kernel.method));
      ASSERT_TRUE(pair) << kernel.name;
      EXPECT_EQ(pair->bits, kernel.bits_mask) << kernel.name;
      EXPECT_EQ(pair->symmetric, kernel.symmetric) << kernel.name;
      EXPECT_EQ(pair->asymmetric, kernel.asymmetric) << kernel.name;
      EXPECT_EQ(pair->float_zero_points, kernel.float_zero_points) << kernel.name;
      found = true;
    }
    EXPECT_TRUE(found) << kernel.name;
  }
  const Encoding &q4_k = *find_encoding(Layout::gguf, "q4_k"),
                 &q8_0 = *find_encoding(Layout::gguf, "q8_0");
  EXPECT_TRUE(offered(q4_k, *find_method("importance")));
  EXPECT_FALSE(offered(q8_0, *find_method("importance")));
  EXPECT_FALSE(offered(q4_k, *find_method("search")));
}

}  // namespace
}  // namespace phiquant::test
