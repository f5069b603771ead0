// How GGUF's blocks keep their codes: nibbles, fifth bits, six-bit scales; loops over blocks.
// Source:  ggml src/ggml-common.h and ggml-quants.c of llama.cpp b11434.
#pragma once

#include "quant/ggml/search.h"
#include "quant/parts.h"
#include "quant/row_scheme.h"

namespace phiquant::quant::ggml {

// Values of a block of the simple types.
inline constexpr size_t kSmall = 32;

// byte j = codes[j] | codes[j + half] << 4, of the lower four bits.
inline void pack_nibbles(const uint8_t* codes, size_t half, std::byte* out) {
  for (size_t j = 0; j < half; ++j)
    out[j] = static_cast<std::byte>((codes[j] & 15) | (codes[j + half] & 15) << 4);
}

inline void unpack_nibbles(const std::byte* in, size_t half, uint8_t* codes) {
  for (size_t j = 0; j < half; ++j) {
    const auto b = static_cast<uint8_t>(in[j]);
    codes[j] = b & 15;
    codes[j + half] = static_cast<uint8_t>(b >> 4);
  }
}

// Bit j of a little-endian word: the fifth bit of code j of 32.
inline void pack_fifth_bits(const uint8_t* codes, std::byte* out) {
  uint32_t bits = 0;
  for (unsigned j = 0; j < kSmall; ++j) bits |= (codes[j] >> 4 & 1u) << j;
  std::memcpy(out, &bits, 4);
}

inline void unpack_fifth_bits(const std::byte* in, uint8_t* codes) {
  uint32_t bits;
  std::memcpy(&bits, in, 4);
  for (unsigned j = 0; j < kSmall; ++j)
    codes[j] = static_cast<uint8_t>(codes[j] | (bits >> j & 1u) << 4);
}

// Codes of 4 or 5 bits of a simple type, behind its scale: fifth bits if any, then the nibbles.
template <unsigned kBits>
void pack_small_codes(const uint8_t* codes, std::byte* out) {
  if (kBits == 5) pack_fifth_bits(codes, out);
  pack_nibbles(codes, kSmall / 2, out + (kBits == 5 ? 4 : 0));
}

template <unsigned kBits>
void unpack_small_codes(const std::byte* in, uint8_t* codes) {
  unpack_nibbles(in + (kBits == 5 ? 4 : 0), kSmall / 2, codes);
  if (kBits == 5) unpack_fifth_bits(in, codes);
}

// Six-bit scales and offsets of the eight sub-blocks of Q4_K and Q5_K in 12 bytes: the first four
// of each whole, of the others the lower four bits together and the upper two above the first four.
inline void pack_six_bits(const uint8_t* scales, const uint8_t* offsets, std::byte* out) {
  for (size_t j = 0; j < 4; ++j) {
    out[j] = static_cast<std::byte>(scales[j] | scales[j + 4] >> 4 << 6);
    out[j + 4] = static_cast<std::byte>(offsets[j] | offsets[j + 4] >> 4 << 6);
    out[j + 8] = static_cast<std::byte>((scales[j + 4] & 15) | (offsets[j + 4] & 15) << 4);
  }
}

inline void unpack_six_bits(const std::byte* in, uint8_t* scales, uint8_t* offsets) {
  for (size_t j = 0; j < 4; ++j) {
    const auto s = static_cast<uint8_t>(in[j]), o = static_cast<uint8_t>(in[j + 4]),
               low = static_cast<uint8_t>(in[j + 8]);
    scales[j] = s & 63;
    offsets[j] = o & 63;
    scales[j + 4] = static_cast<uint8_t>((low & 15) | s >> 6 << 4);
    offsets[j + 4] = static_cast<uint8_t>(low >> 4 | o >> 6 << 4);
  }
}

// A GGUF type's shape: sub-blocks of kSub values, codes below kCodes.
template <size_t kValues, size_t kSub, size_t kBytes, int kCodes>
BlockShape block_shape(const BlockSpec&) {
  return {kValues, kSub, 0, kCodes, {PlaneShape{kBytes}}};
}

// A whole block through the parts of its type.
template <const EncodingParts& kParts, size_t kValues>
void encode_by_parts(const float* x, const float* importance, std::byte* out) {
  Grid g;
  const size_t n_weights = importance ? kValues : 0;
  kParts.fit({x, kValues}, {importance, n_weights}, {}, g);
  uint8_t codes[kValues];
  for (size_t i = 0; i < kValues; ++i) codes[i] = kParts.round(x[i], i, g, {});
  kParts.pack(std::span<const uint8_t>(codes), g, {}, {out});
}

template <const EncodingParts& kParts, size_t kValues>
void decode_by_parts(const std::byte* in, float* x) {
  Grid g;
  uint8_t codes[kValues];
  kParts.unpack({in}, {}, g, std::span<uint8_t>(codes));
  for (size_t i = 0; i < kValues; ++i) x[i] = kParts.decode(codes[i], i, g, {});
}

// encode(x, importance of the block's columns or null, bytes) for every block of the tile.
template <size_t kBlock, size_t kBytes, class Encode>
void for_each_block(const RowTile& tile, const RowPlanes& out, const Encode& encode) {
  const size_t blocks = tile.k / kBlock;
  for (size_t b = 0; b < tile.n_rows * blocks; ++b)
    encode(tile.x + b * kBlock, tile.importance ? tile.importance + b % blocks * kBlock : nullptr,
           out[0] + b * kBytes);
}

// decode(bytes, x) for every block.
template <size_t kBlock, size_t kBytes, class Decode>
void for_each_stored(const RowPlanesView& in, size_t n_values, float* x, const Decode& decode) {
  for (size_t b = 0; b < n_values / kBlock; ++b) decode(in[0] + b * kBytes, x + b * kBlock);
}

// The weights of a block with an imatrix: importance * sqrt(sigma2 + x^2).
inline void importance_weights(const float* x, const float* importance, float sigma2, size_t n,
                               float* weights) {
  for (size_t i = 0; i < n; ++i) weights[i] = importance[i] * std::sqrt(sigma2 + x[i] * x[i]);
}

// The simple types: encode(x, bytes) for every block or, with an imatrix,
// encode_weighted(x, weights, bytes), sigma2 being the mean square of the row.
template <size_t kBytes, class Encode, class EncodeWeighted>
void for_each_small_block(const RowTile& tile, const RowPlanes& out, const Encode& encode,
                          const EncodeWeighted& encode_weighted) {
  std::byte* block = out[0];
  for (size_t r = 0; r < tile.n_rows; ++r) {
    const float* x = tile.x + r * tile.k;
    const float sigma2 = tile.importance ? mean_square(x, tile.k) : 0;
    for (size_t i = 0; i < tile.k; i += kSmall, block += kBytes) {
      if (!tile.importance) {
        encode(x + i, block);
        continue;
      }
      float weights[kSmall];
      importance_weights(x + i, tile.importance + i, sigma2, kSmall, weights);
      encode_weighted(x + i, weights, block);
    }
  }
}

}  // namespace phiquant::quant::ggml
