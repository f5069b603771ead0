// MLX's modes against hashes of what MLX's own quantizer wrote (tests/data/golden/make_mlx.py), and
// decoding against its specification.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "core/half.h"
#include "quant/mlx/affine.h"
#include "quant/mlx/bits.h"
#include "quant/mlx/fp.h"
#include "quant/row_run.h"
#include "quant/row_scheme.h"
#include "quant/simd_levels.h"

namespace phiquant::test {
namespace {

constexpr size_t kColumns = 512, kRows = 32, kHalfRows = 20;

struct Case {
  const RowScheme* scheme;
  RowParams params;
  std::string line, hashes[kMaxRowPlanes];
};

DType dtype_of(const std::string& name) {
  return name == "f16" ? DType::f16 : name == "bf16" ? DType::bf16 : DType::f32;
}

std::vector<Case> read_cases() {
  std::ifstream file(PHIQUANT_TEST_DATA "/golden/mlx/hashes.txt");
  std::vector<Case> cases;
  for (std::string line; std::getline(file, line);) {
    Case c;
    c.line = line;
    std::istringstream fields(line);
    std::string dtype, mode;
    fields >> dtype >> mode >> c.params.bits >> c.params.group_size >> c.hashes[0] >> c.hashes[1] >>
        c.hashes[2];
    c.params.scale_dtype = dtype_of(dtype);
    c.scheme = find_row_scheme(RowFamily::mlx, mode);
    cases.push_back(c);
  }
  return cases;
}

// The rows that a weight of that type can hold, rounded to it.
std::vector<float> read_rows(DType dtype) {
  std::ifstream file(PHIQUANT_TEST_DATA "/golden/mlx/rows_32x512.f32", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(bytes.size(), kRows * kColumns * 4);
  std::vector<float> x((dtype == DType::f16 ? kHalfRows : kRows) * kColumns);
  std::memcpy(x.data(), bytes.data(), x.size() * 4);
  for (float& v : x) {
    if (dtype == DType::f16) v = f32_from_f16(f16_from_f32(v));
    if (dtype == DType::bf16) v = f32_from_bf16(bf16_from_f32(v));
  }
  return x;
}

std::string fnv(const std::string& data) {
  uint64_t h = 0xcbf29ce484222325u;
  for (const char c : data) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(h));
  return text;
}

void expect_hashes(const Case& c, RowEncode encode, const std::string& who) {
  ASSERT_NE(c.scheme, nullptr) << c.line;
  const std::vector<float> x = read_rows(c.params.scale_dtype);
  std::string bytes[kMaxRowPlanes];
  RowPlanes planes = {};
  for (size_t p = 0; p < kMaxRowPlanes; ++p) {
    bytes[p].assign(row_plane_bytes(*c.scheme, c.params, p, x.size()), '\xaa');
    planes[p] = reinterpret_cast<std::byte*>(bytes[p].data());
  }
  encode({x.data(), x.size() / kColumns, kColumns, nullptr}, c.params, planes);
  for (size_t p = 0; p < kMaxRowPlanes; ++p)
    EXPECT_EQ(bytes[p].empty() ? "-" : fnv(bytes[p]), c.hashes[p])
        << who << ": " << c.line << ": plane " << p;
}

TEST(Mlx, ReferenceGivesItsBytes) {
  const auto cases = read_cases();
  ASSERT_EQ(cases.size(), 63u);
  for (const Case& c : cases) expect_hashes(c, c.scheme->encode_ref, "reference");
}

TEST(Mlx, EverySimdGivesItsBytes) {
  for (const Case& c : read_cases())
    for_each_simd([&](const std::string& simd) { expect_hashes(c, c.scheme->encode, simd); });
}

TEST(Mlx, PackingIsABitStream) {
  std::mt19937 random(3);
  for (const unsigned bits : {2u, 3u, 4u, 5u, 6u, 8u}) {
    uint8_t codes[32], back[32];
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % (1u << bits));
    std::byte packed[32] = {};
    quant::with_bits(bits, [&]<unsigned kBits>() {
      quant::pack_codes<kBits>(codes, 32, packed);
      quant::unpack_codes<kBits>(packed, 32, back);
    });
    for (unsigned i = 0; i < 32 * bits; ++i)
      EXPECT_EQ(std::to_integer<unsigned>(packed[i / 8]) >> i % 8 & 1u,
                codes[i / bits] >> i % bits & 1u)
          << bits << " bits, bit " << i;
    EXPECT_EQ(std::memcmp(codes, back, 32), 0) << bits;
  }
}

// Whole and part batches of groups, in every width and group size; bf16 weights, whose quotients
// often lie half-way between two codes.
TEST(Mlx, EveryCountOfGroupsIsTheReferenceOnEverySimd) {
  const RowScheme& scheme = *find_row_scheme(RowFamily::mlx, "affine");
  unsigned seed = 1;
  for (const uint32_t group : {32u, 64u, 128u})
    for (const uint32_t bits : {2u, 3u, 4u, 5u, 6u, 8u})
      for (const size_t groups : {1u, 2u, 3u, 15u, 17u, 33u}) {
        const RowParams params{bits, group, DType::bf16};
        std::vector<float> x = varied_rows(groups * group, ++seed);
        for (float& v : x) v = f32_from_bf16(bf16_from_f32(v));
        const RowTile tile{x.data(), 1, x.size(), nullptr};
        const RowBytes wanted = encode_rows(scheme, params, scheme.encode_ref, tile);
        for_each_simd([&](const std::string& simd) {
          EXPECT_TRUE(encode_rows(scheme, params, scheme.encode, tile) == wanted)
              << simd << ": " << groups << " groups of " << group << ", " << bits << " bits";
        });
      }
}

TEST(Mlx, ScaleBytesArePowersOfTwo) {
  for (int c = 0; c < 256; ++c)
    for (const auto mode : {quant::mlx_fp::Mode::mxfp4, quant::mlx_fp::Mode::mxfp8})
      EXPECT_EQ(quant::mlx_fp::scale_value(mode, std::byte(c)), std::ldexp(1.0f, c - 127)) << c;
}

// Any codes, and scales of every kind of number.
std::string random_plane(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

RowDecode decode_ref_of(std::string_view mode) {
  using namespace quant;
  using Mode = mlx_fp::Mode;
  if (mode == "affine") return mlx_affine::decode_ref;
  if (mode == "mxfp4") return mlx_fp::decode_ref<Mode::mxfp4>;
  return mode == "nvfp4" ? mlx_fp::decode_ref<Mode::nvfp4> : mlx_fp::decode_ref<Mode::mxfp8>;
}

TEST(Mlx, DecodingIsItsSpecificationOnEverySimd) {
  constexpr size_t kValues = 3 * kColumns;
  for (const Case& c : read_cases()) {
    std::string bytes[kMaxRowPlanes];
    RowPlanesView planes = {};
    for (size_t p = 0; p < kMaxRowPlanes; ++p) {
      bytes[p] = random_plane(row_plane_bytes(*c.scheme, c.params, p, kValues), 7);
      planes[p] = reinterpret_cast<const std::byte*>(bytes[p].data());
    }
    std::vector<float> want(kValues), got(kValues);
    decode_ref_of(c.scheme->name)(planes, 3, kColumns, c.params, want.data());
    for_each_simd([&](const std::string& simd) {
      c.scheme->decode(planes, 3, kColumns, c.params, got.data());
      for (size_t i = 0; i < kValues; ++i)
        ASSERT_TRUE((std::isnan(want[i]) && std::isnan(got[i])) ||
                    std::memcmp(&want[i], &got[i], 4) == 0)
            << simd << ": " << c.line << ": value " << i << ": " << got[i] << ", wanted "
            << want[i];
    });
  }
}

}  // namespace
}  // namespace phiquant::test
