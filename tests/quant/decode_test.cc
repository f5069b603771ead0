// Decoding and packing: vectors = scalar specification on every SIMD level; the specification
// against written-out blocks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "quant/kernels.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

enum class Zeros { none, integers, floats };

struct Block {
  Packing packing;
  unsigned bits;
  bool is_signed;
  size_t n_rows, n_cols, codes_stride;
  std::vector<std::byte> codes;  // exactly as many as may be read: the sanitizer sees one more
  std::vector<float> scales, zero_points;

  BlockView view() const {
    return {codes.data(), codes_stride, scales.data(),
            zero_points.empty() ? nullptr : zero_points.data()};
  }
};

Block random_block(Packing packing, unsigned bits, bool is_signed, size_t n_rows, size_t n_cols,
                   Zeros zeros) {
  std::mt19937 random(static_cast<unsigned>(n_rows * 1000 + n_cols));
  Block b{packing, bits, is_signed, n_rows, n_cols, 0, {}, {}, {}};
  const size_t column_bytes = (n_rows * bits + 7) / 8;
  const bool packed = packing == Packing::nbits;
  b.codes_stride = packed ? column_bytes + 5 : n_cols + 5;
  b.codes.resize((packed ? n_cols - 1 : n_rows - 1) * b.codes_stride +
                 (packed ? column_bytes : n_cols));
  for (std::byte& code : b.codes) {
    unsigned value = static_cast<unsigned>(random()) & 0xffu;
    if (!packed) value &= (1u << bits) - 1u;
    const unsigned half = 1u << (bits - 1);
    if (!packed && is_signed) value = (value ^ half) - half;
    code = static_cast<std::byte>(value);
  }
  for (size_t c = 0; c < n_cols; ++c) {
    b.scales.push_back(std::ldexp(static_cast<float>(random() % 2001) - 1000.0f, -14));
    if (zeros == Zeros::integers)
      b.zero_points.push_back(static_cast<float>(random() % (1u << bits)));
    if (zeros == Zeros::floats)
      b.zero_points.push_back(static_cast<float>(random() % 1000) * 0.0077f);
  }
  return b;
}

TEST(DecodeBlock, EverySimdGivesTheReferenceFloats) {
  for_each_simd([&](const std::string& simd) {
    for (const Packing packing : {Packing::nbits, Packing::k_major, Packing::n_major})
      for (const unsigned bits : {2u, 4u, 8u})
        for (const bool is_signed : {false, true})
          for (const Zeros zeros : {Zeros::none, Zeros::integers, Zeros::floats})
            for (const size_t n_rows : {1u, 3u, 16u, 32u, 33u, 128u, 200u})
              for (const size_t n_cols : {1u, 15u, 16u, 31u, 50u}) {
                const Block b = random_block(packing, bits, is_signed, n_rows, n_cols, zeros);
                const size_t stride = n_cols + 2;
                std::vector<float> got(n_rows * stride, -7.0f), expected = got;
                quant::decode_block(packing, bits, is_signed, b.view(), n_rows, n_cols, got.data(),
                                    stride);
                quant::decode_block_ref(packing, bits, is_signed, b.view(), n_rows, n_cols,
                                        expected.data(), stride);
                ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)), 0)
                    << simd << " bits " << bits << " signed " << is_signed << " " << n_rows << " x "
                    << n_cols;
              }
  });
}

TEST(DecodeBlock, ReferenceReadsLowBitsFirst) {
  const std::byte codes[] = {std::byte{0x1f}, std::byte{0x80}};  // one column: 15 1 0 8
  const float scale = -0.5f, zero = 3;
  std::vector<float> x(4);
  const auto decode = [&](unsigned bits, bool is_signed, const float* zero_point, size_t n) {
    quant::decode_block_ref(Packing::nbits, bits, is_signed, {codes, 2, &scale, zero_point}, n, 1,
                            x.data(), 1);
    return x;
  };
  EXPECT_EQ(decode(4, false, nullptr, 4), (std::vector<float>{-3.5f, 3.5f, 4, 0}));
  EXPECT_EQ(decode(4, false, &zero, 4), (std::vector<float>{-6, 1, 1.5f, -2.5f}));
  EXPECT_EQ(decode(4, true, nullptr, 4), (std::vector<float>{0.5f, -0.5f, 0, 4}));
  EXPECT_EQ(decode(2, false, nullptr, 4), (std::vector<float>{-0.5f, -0.5f, 0.5f, 1}));  // 3 3 1 0
  x.resize(2);
  EXPECT_EQ(decode(8, false, nullptr, 2), (std::vector<float>{48.5f, 0}));
  EXPECT_EQ(decode(8, true, nullptr, 2), (std::vector<float>{-15.5f, 64}));
}

TEST(FlatPack, EverySimdGivesTheReferenceBytesFromAnyStart) {
  std::mt19937 random(3);
  std::vector<uint8_t> values(700);
  for (uint8_t& value : values)
    value = static_cast<uint8_t>(random());  // only the low bits are valid
  for_each_simd([&](const std::string& simd) {
    for (const unsigned bits : {2u, 4u, 8u})
      for (size_t n = 0; n < 300; ++n) {
        std::vector<std::byte> got((n * bits + 7) / 8, std::byte{0xee}), expected = got;
        quant::pack_flat(values.data(), n, bits, got.data());
        quant::pack_flat_ref(values.data(), n, bits, expected.data());
        ASSERT_EQ(got, expected) << simd << " bits " << bits << " n " << n;
        for (size_t first = 0; first < 5 && first <= n; ++first)
          for (const bool is_signed : {false, true}) {
            std::vector<uint8_t> back(n - first), expected_back(n - first);
            quant::unpack_flat(got.data(), first, n - first, bits, is_signed, back.data());
            quant::unpack_flat_ref(got.data(), first, n - first, bits, is_signed,
                                   expected_back.data());
            ASSERT_EQ(back, expected_back)
                << simd << " bits " << bits << " n " << n << " first " << first;
            for (size_t i = 0; i < back.size(); ++i)
              ASSERT_EQ((back[i] ^ values[first + i]) & ((1u << bits) - 1u), 0u);
          }
      }
  });
}

TEST(FlatPack, ReferenceReadsLowBitsFirst) {
  const uint8_t values[] = {1, 0xfe, 3, 2, 7};
  std::vector<std::byte> nibbles(3), pairs(2);
  quant::pack_flat_ref(values, 5, 4, nibbles.data());
  EXPECT_EQ(nibbles, (std::vector<std::byte>{std::byte{0xe1}, std::byte{0x23}, std::byte{0x07}}));
  quant::pack_flat_ref(values, 5, 2, pairs.data());
  EXPECT_EQ(pairs, (std::vector<std::byte>{std::byte{0xb9}, std::byte{0x03}}));
  std::vector<uint8_t> back(3);
  quant::unpack_flat_ref(nibbles.data(), 1, 3, 4, true, back.data());
  EXPECT_EQ(back, (std::vector<uint8_t>{0xfe, 3, 2}));
}

}  // namespace
}  // namespace phiquant::test
