// The parts of MatMulNBits: 2, 4 or 8 bits, unsigned. The fit and the rounding are those of
// matmul_nbits, with float zero points those of hqq.
#pragma once

#include <algorithm>

#include "quant/blocks/column_parts.h"
#include "quant/blocks/hqq.h"
#include "quant/blocks/matmul_nbits.h"

namespace phiquant::quant::nbits {

inline BlockShape shape(const BlockSpec& s) {
  const size_t n = s.params.block_size, scale_bytes = dtype_bits(s.scale_dtype) / 8;
  BlockShape shape{n, n, 0, 1 << s.params.bits, {{{n * s.params.bits / 8}, {scale_bytes}}}};
  if (s.params.float_zero_points)
    shape.planes[2] = {scale_bytes};
  else if (!s.params.symmetric)
    shape.planes[2] = {1, s.params.bits};  // flat over a column: a column's first is in a new byte
  return shape;
}

inline float max_code(const BlockSpec& s) { return static_cast<float>((1u << s.params.bits) - 1); }

inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec& s, Grid& g) {
  const BlockTile tile = column_of(x);
  if (s.params.float_zero_points) {
    hqq::Column column{tile, 0, s.params.block_size, max_code(s)};
    column.solve(hqq::kDefaultSteps);
    g.by[0] = column.r;
    g.from[0] = column.zero;
    g.scale[0] = through_dtype(1 / column.r, s.scale_dtype);
    g.offset[0] = through_dtype(column.zero, s.scale_dtype);
    return;
  }
  const BlockScale scale = default_scale(tile, 0, scheme_params(s));
  g.by[0] = scale.reciprocal;
  g.scale[0] = scale.stored;
  g.from[0] = g.offset[0] = scale.zero_point;
}

inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec& s) {
  if (s.params.float_zero_points)
    return static_cast<uint8_t>(hqq::code_of(x, g.by[0], g.from[0], max_code(s)));
  return static_cast<uint8_t>(matmul_nbits::code_of(x, g.by[0], g.from[0], s.params.bits));
}

inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec&) {
  return decode_column_code(code, g);
}

// The rest of a short block: 0; with float zero points the code of the value 0.
inline void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec& s,
                 const Planes& out) {
  const unsigned bits = s.params.bits;
  const unsigned pad = s.params.float_zero_points ? round(0, 0, g, s) : 0;
  std::fill_n(out[0], s.params.block_size * bits / 8, std::byte{0});
  for (size_t k = 0; k < s.params.block_size; ++k)
    out[0][k * bits / 8] |= std::byte((k < codes.size() ? codes[k] : pad) << (k * bits % 8));
  store_float(g.scale[0], s.scale_dtype, out[1]);
  if (s.params.float_zero_points)
    store_float(g.offset[0], s.scale_dtype, out[2]);
  else if (!s.params.symmetric)
    out[2][0] = static_cast<std::byte>(static_cast<int>(g.offset[0]));
}

inline void unpack(const PlanesView& in, const BlockSpec& s, Grid& g, std::span<uint8_t> codes) {
  const unsigned bits = s.params.bits, mask = (1u << bits) - 1;
  for (size_t k = 0; k < codes.size(); ++k)
    codes[k] = static_cast<uint8_t>(
        std::to_integer<unsigned>(in[0][k * bits / 8]) >> (k * bits % 8) & mask);
  g.scale[0] = load_float(in[1], s.scale_dtype);
  g.offset[0] = s.params.float_zero_points ? load_float(in[2], s.scale_dtype)
                : s.params.symmetric       ? static_cast<float>(1u << (bits - 1))
                                     : static_cast<float>(std::to_integer<unsigned>(in[2][0]));
  g.by[0] = reciprocal_or_zero(g.scale[0]);
  g.from[0] = g.offset[0];
}

inline constexpr EncodingParts kParts = {
    shape, fit,    round,           decode_code,
    pack,  unpack, PeerRule::parts, {1 << 2 | 1 << 4 | 1 << 8, kBlockSizes, true, true, true}};

}  // namespace phiquant::quant::nbits
