// Against the bytes of ONNX Runtime's quantize_dynamic rules and float16 converter
// (tests/data/golden/make_int8_fp16.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "quant/kernels.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

// Takes values off the front of a golden file.
class Golden {
 public:
  explicit Golden(const char* name) {
    std::ifstream file(std::string(PHIQUANT_TEST_DATA "/golden/int8_fp16/") + name,
                       std::ios::binary);
    EXPECT_TRUE(file) << name;
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
  }
  template <class T>
  std::vector<T> take(size_t n) {
    std::vector<T> values(n);
    if (n * sizeof(T) > bytes_.size() - at_) {
      ADD_FAILURE() << "golden file ends early";
      at_ = bytes_.size();
      return values;
    }
    if (n != 0) std::memcpy(values.data(), bytes_.data() + at_, n * sizeof(T));
    at_ += n * sizeof(T);
    return values;
  }
  bool done() const { return at_ == bytes_.size(); }

 private:
  std::vector<char> bytes_;
  size_t at_ = 0;
};

struct Int8Case {
  size_t rows, cols;
  DType dtype;
  bool is_signed, symmetric, reduce_range, per_channel;
  std::vector<std::byte> weight, codes;
  std::vector<float> scales;
  std::vector<int32_t> zero_points;
};

std::vector<Int8Case> read_int8() {
  Golden file("affine.bin");
  std::vector<Int8Case> cases;
  while (!file.done()) {
    const auto size = file.take<uint32_t>(2);
    const auto flags = file.take<uint8_t>(8);
    Int8Case c{size[0],
               size[1],
               flags[0] ? DType::f16 : DType::f32,
               flags[1] != 0,
               flags[2] != 0,
               flags[3] != 0,
               flags[4] != 0,
               {},
               {},
               {},
               {}};
    c.weight = file.take<std::byte>(c.rows * c.cols * dtype_bits(c.dtype) / 8);
    const size_t pairs = c.per_channel ? c.cols : 1;
    c.scales = file.take<float>(pairs);
    c.zero_points = file.take<int32_t>(pairs);
    c.codes = file.take<std::byte>(c.rows * c.cols);
    cases.push_back(std::move(c));
  }
  return cases;
}

void check_int8(const Int8Case& c, decltype(&quant::column_min_max) min_max,
                decltype(&quant::int8_encode) encode) {
  std::vector<float> x(c.rows * c.cols);
  quant::to_f32(c.weight.data(), c.dtype, x.size(), x.data());
  std::vector<float> lo(c.cols, std::numeric_limits<float>::infinity()), hi(c.cols, -lo[0]);
  min_max(x.data(), c.cols, c.rows, c.cols, lo.data(), hi.data());
  if (!c.per_channel) {
    std::fill(lo.begin(), lo.end(), *std::min_element(lo.begin(), lo.end()));
    std::fill(hi.begin(), hi.end(), *std::max_element(hi.begin(), hi.end()));
  }
  std::vector<quant::Int8Params> columns;
  for (size_t i = 0; i < c.cols; ++i) {
    columns.push_back(
        quant::int8_from_range(lo[i], hi[i], c.symmetric, c.is_signed, c.reduce_range, c.dtype));
    const size_t j = c.per_channel ? i : 0;
    EXPECT_EQ(std::bit_cast<uint32_t>(columns[i].scale), std::bit_cast<uint32_t>(c.scales[j]))
        << "column " << i;
    EXPECT_EQ(columns[i].zero_point, c.zero_points[j]) << "column " << i;
  }
  std::vector<std::byte> codes(x.size());
  encode(x.data(), c.cols, c.rows, c.cols, columns.data(), c.is_signed, codes.data(), c.cols);
  for (size_t i = 0; i < codes.size(); ++i)
    ASSERT_EQ(codes[i], c.codes[i])
        << "row " << i / c.cols << " column " << i % c.cols << " value " << x[i];
}

TEST(GoldenInt8, ReferenceAndEverySimdMatchQuantizeDynamic) {
  const std::vector<Int8Case> cases = read_int8();
  EXPECT_EQ(cases.size(), 32u);
  for (size_t i = 0; i < cases.size(); ++i) {
    {
      SCOPED_TRACE("reference, case " + std::to_string(i));
      check_int8(cases[i], quant::column_min_max_ref, quant::int8_encode_ref);
    }
    for_each_simd([&](const std::string& simd) {
      SCOPED_TRACE(simd + ", case " + std::to_string(i));
      check_int8(cases[i], quant::column_min_max, quant::int8_encode);
    });
  }
}

TEST(GoldenFp16, ReferenceAndEverySimdMatchThePeers) {
  Golden file("cast.bin");
  const size_t n = file.take<uint32_t>(1)[0];
  const std::vector<float> x = file.take<float>(n);
  const std::vector<uint16_t> ort = file.take<uint16_t>(n), ieee = file.take<uint16_t>(n);
  const std::vector<uint16_t> brain = file.take<uint16_t>(n);
  EXPECT_GT(n, 10000u);
  EXPECT_TRUE(file.done());
  const auto check = [&](decltype(&quant::cast) cast, DType to, CastRule rule,
                         const std::vector<uint16_t>& expected) {
    std::vector<uint16_t> got(n);
    quant::CastStats stats;
    cast(reinterpret_cast<const std::byte*>(x.data()), DType::f32, n,
         reinterpret_cast<std::byte*>(got.data()), to, rule, stats);
    for (size_t i = 0; i < n; ++i) {
      // ml_dtypes writes every NaN as 0x7fc0; a payload is kept here.
      if (to == DType::bf16 && x[i] != x[i]) continue;
      ASSERT_EQ(got[i], expected[i])
          << "value " << x[i] << " bits " << std::hex << std::bit_cast<uint32_t>(x[i]);
    }
  };
  const auto check_all = [&](decltype(&quant::cast) cast) {
    check(cast, DType::f16, CastRule::ort_fp16, ort);
    check(cast, DType::f16, CastRule::ieee, ieee);
    check(cast, DType::bf16, CastRule::ieee, brain);
  };
  check_all(quant::cast_ref);
  for_each_simd([&](const std::string& simd) {
    SCOPED_TRACE(simd);
    check_all(quant::cast);
  });
}

}  // namespace
}  // namespace phiquant::test
