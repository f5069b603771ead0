// Codes of any width as one little-endian bit stream: MLX's packing, whose 32-bit words make the
// same bytes. Eight codes of b bits are b bytes, so a group of 8n codes starts on a byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace phiquant::quant {

// Eight codes, one a byte and below 2^kBits, to kBits bytes in the low end; and back. Neighbours
// are joined, or parted, in three steps: to pairs in 16 bits, fours in 32, eight in 64.
template <unsigned kBits>
constexpr uint64_t pack_eight(uint64_t codes) {
  constexpr uint64_t kBytes = 0x00ff00ff00ff00ff, kWords = 0x0000ffff0000ffff;
  if constexpr (kBits < 8) {
    codes = (codes & kBytes) | (codes & ~kBytes) >> (8 - kBits);
    codes = (codes & kWords) | (codes & ~kWords) >> (16 - 2 * kBits);
    codes = (codes & 0xffffffff) | codes >> 32 << (4 * kBits);
  }
  return codes;
}
template <unsigned kBits>
constexpr uint64_t unpack_eight(uint64_t packed) {
  if constexpr (kBits < 8) {
    constexpr uint64_t kFour = (uint64_t{1} << (4 * kBits)) - 1,
                       kPair = ((uint64_t{1} << (2 * kBits)) - 1) * 0x0000000100000001,
                       kOne = ((uint64_t{1} << kBits) - 1) * 0x0001000100010001;
    packed = (packed & kFour) | packed >> (4 * kBits) << 32;
    packed = (packed & kPair) | (packed & (kPair << (2 * kBits))) << (16 - 2 * kBits);
    packed = (packed & kOne) | (packed & (kOne << kBits)) << (8 - kBits);
  }
  return packed;
}

// 32 codes, one a byte <-> 4 * kBits bytes. Words of eight codes are moved whole where there is
// room behind them: pieces of odd sizes are slow.
template <unsigned kBits>
inline void pack_run(const uint8_t* codes, std::byte* out) {
  for (size_t i = 0; i < 4; ++i) {
    uint64_t eight;
    std::memcpy(&eight, codes + 8 * i, 8);
    eight = pack_eight<kBits>(eight);
    if (i * kBits + 8 <= 4 * kBits)
      std::memcpy(out + i * kBits, &eight, 8);
    else
      std::memcpy(out + i * kBits, &eight, kBits);
  }
}
template <unsigned kBits>
inline void unpack_run(const std::byte* in, uint8_t* codes) {
  constexpr uint64_t kMask = ~uint64_t{0} >> (64 - 8 * kBits);
  for (size_t i = 0; i < 4; ++i) {
    uint64_t eight = 0;
    if (i * kBits + 8 <= 4 * kBits)
      std::memcpy(&eight, in + i * kBits, 8);
    else
      std::memcpy(&eight, in + i * kBits, kBits);
    eight = unpack_eight<kBits>(eight & kMask);
    std::memcpy(codes + 8 * i, &eight, 8);
  }
}

// n codes, a multiple of 8, one a byte <-> n * kBits / 8 bytes.
template <unsigned kBits>
inline void pack_codes(const uint8_t* codes, size_t n, std::byte* out) {
  for (; n >= 32; n -= 32, codes += 32, out += 4 * kBits) pack_run<kBits>(codes, out);
  for (size_t i = 0; i < n; i += 8, out += kBits) {
    uint64_t eight;
    std::memcpy(&eight, codes + i, 8);
    eight = pack_eight<kBits>(eight);
    std::memcpy(out, &eight, kBits);
  }
}
template <unsigned kBits>
inline void unpack_codes(const std::byte* in, size_t n, uint8_t* codes) {
  for (; n >= 32; n -= 32, codes += 32, in += 4 * kBits) unpack_run<kBits>(in, codes);
  for (size_t i = 0; i < n; i += 8, in += kBits) {
    uint64_t eight = 0;
    std::memcpy(&eight, in, kBits);
    eight = unpack_eight<kBits>(eight);
    std::memcpy(codes + i, &eight, 8);
  }
}

// Calls f with the width as a constant: f.template operator()<4>().
template <class F>
inline void with_bits(unsigned bits, F f) {
  switch (bits) {
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    case 5:
      return f.template operator()<5>();
    case 6:
      return f.template operator()<6>();
    default:
      return f.template operator()<8>();
  }
}

}  // namespace phiquant::quant
