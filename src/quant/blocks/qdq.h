// qdq: blocks for the standard DequantizeLinear (opset 21) in front of a MatMul.
// Layout:   Packing::k_major; the caller packs. Symmetric: INT4 or INT8, zero point 0. Asymmetric:
// UINT4 or UINT8. 4 bits:   onnxruntime 1.31, mlas/lib/q4_dq.cpp (BlockwiseQDQQuantizer): scales as
// in matmul_nbits, but the product is
//           rounded (halves away from zero) before the zero point is added: clamp(round(x * r) +
//           zero_point). Where r is infinite (subnormal scale) all codes are the lowest: the
//           original's conversion to int overflows.
// 8 bits:   onnxruntime 1.31, quantization/quant_utils.py (compute_scale_zp_blocked,
// quantize_nparray):
//           range widened to hold 0; symmetric: scale = (2 * max |x|) / 254, asymmetric: scale =
//           (hi - lo) / 255, numerator and scale rounded to the weight's dtype; below that dtype's
//           smallest normal number (f16: 6.1e-5!) scale 1 and zero point 0. Zero point =
//           clamp(round(-lo / scale)) in double; code = clamp(round(x / scale) + zero_point) to
//           -128..127 or 0..255, halves to even. bf16 (ONNX Runtime has none): float arithmetic,
//           the scale rounded to bf16 before it divides.
#pragma once

#include "quant/blocks/column_parts.h"
#include "quant/blocks/matmul_nbits.h"

namespace phiquant::quant::qdq {

// Smallest normal number of a dtype; a blocked 8-bit scale below it becomes 1.
inline float smallest_normal(DType type) { return type == DType::f16 ? 0x1p-14f : 0x1p-126f; }

inline float zero_point_8bit(float lo, float scale) {
  const double zero = std::nearbyint(0.0 - static_cast<double>(lo) / static_cast<double>(scale));
  return static_cast<float>(clamp_or_low(zero, 0.0, 255.0));
}

inline BlockScale scale_8bit(const BlockTile& tile, size_t c, const SchemeParams& p) {
  const DType step = p.weight_dtype == DType::f16 ? DType::f16 : DType::f32;
  ColumnRange r = column_range(tile, c);
  if (!(r.lo < 0)) r.lo = 0;
  if (!(r.hi > 0)) r.hi = 0;
  const float extreme = -r.lo > r.hi ? -r.lo : r.hi;
  const float span = round_to_dtype(p.symmetric ? extreme * 2 : r.hi - r.lo, step);
  // Float division: the quotient in double, rounded to the dtype, is the same number (53 >= 2 * 24
  // + 2 bits).
  const float scale = round_to_dtype(span / (p.symmetric ? 254.0f : 255.0f), p.weight_dtype);
  if (scale < smallest_normal(p.weight_dtype)) return {1, 0, 0};
  if (p.symmetric) return {scale, 0, 0};
  return {scale, 0, zero_point_8bit(r.lo, scale)};
}

// Halves away from zero; infinity and NaN become the lowest int, as x86's conversion has it.
inline float rounded_to_int(float value) {
  return std::fabs(value) < 0x1p31f ? std::round(value) : -0x1p31f;
}

inline BlockScale scale_of(const BlockTile& tile, size_t c, const SchemeParams& p) {
  BlockScale s = p.bits == 8 ? scale_8bit(tile, c, p) : default_scale(tile, c, p);
  if (p.symmetric) s.zero_point = 0;
  return s;
}

inline int code_of(float x, const BlockScale& s, const SchemeParams& p) {
  const float mid = static_cast<float>(1u << (p.bits - 1));
  const float lo = p.symmetric ? -mid : 0.0f, hi = p.symmetric ? mid - 1 : 2 * mid - 1;
  const float level = p.bits == 8 ? std::nearbyint(x / s.stored) : rounded_to_int(x * s.reciprocal);
  return static_cast<int>(clamp_or_low(level + s.zero_point, lo, hi));
}

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  for (size_t c = 0; c < tile.n_cols; ++c) {
    const BlockScale s = scale_of(tile, c, p);
    for (size_t k = 0; k < tile.n_rows; ++k)
      put_flat(out, k, c, code_of(tile.x[k * tile.stride + c], s, p));
    out.scales[c] = s.stored;
    if (out.zero_points) out.zero_points[c] = s.zero_point;
  }
}

inline BlockShape shape(const BlockSpec& s) { return flat_shape(s, s.params.symmetric); }

inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec& s, Grid& g) {
  const BlockScale scale = scale_of(column_of(x), 0, scheme_params(s));
  g.scale[0] = scale.stored;
  g.by[0] = scale.reciprocal;
  g.offset[0] = scale.zero_point;
}

inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec& s) {
  return static_cast<uint8_t>(code_of(x, {g.scale[0], g.by[0], g.offset[0]}, scheme_params(s)));
}

inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec& s) {
  return decode_column_code(s.params.symmetric ? static_cast<int8_t>(code) : code, g);
}

inline void unpack(const PlanesView& in, const BlockSpec& s, Grid& g, std::span<uint8_t> codes) {
  unpack_flat_column(in, s, 0, g, codes);
  g.by[0] = reciprocal_or_zero(g.scale[0]);
}

inline constexpr EncodingParts kParts = {shape,
                                         fit,
                                         round,
                                         decode_code,
                                         pack_flat_column,
                                         unpack,
                                         PeerRule::parts,
                                         {1 << 4 | 1 << 8, kBlockSizes, true, true}};

// The same bytes, fast.
void encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out);

}  // namespace phiquant::quant::qdq
