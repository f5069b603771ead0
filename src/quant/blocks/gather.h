// gather: embedding tables for com.microsoft::GatherBlockQuantized.
// Source:   onnxruntime 1.31, quantization/matmul_nbits_quantizer.py, quantize_ndarray (4 bits
// only). Layout:   Packing::n_major; the caller packs. 4 bits: INT4 codes when symmetric (no zero
// point), else UINT4.
//           8 bits: the same rule with 128 and 255 for 8 and 15. The operator has no signed 8-bit
//           form, so codes are always uint8: symmetric ones are raised by 128, its default zero
//           point.
// Symmetric:  m = the value furthest from zero, with its sign; scale = m / -2^(bits-1); code =
// clamp(round(x / scale)). Asymmetric: range widened to hold 0; scale = (hi - lo) / (2^bits - 1);
// zero point = clamp(round(-lo / scale));
//             code = clamp(round(x / scale + zero_point)).
// Arithmetic: in the table's dtype, halves to even. f16: every operation rounds to f16. bf16: float
// operations, the
//             scale rounded to bf16 before it divides, so that codes fit the scale that is stored.
// Edges:    scale 0 (zero block, or smaller than the dtype): codes and zero point 0, asymmetric
// 2^(bits-1).
#pragma once

#include "quant/blocks/column_parts.h"

namespace phiquant::quant::gather {

// What each operation rounds to.
inline DType step_of(DType weight_dtype) {
  return weight_dtype == DType::f16 ? DType::f16 : DType::f32;
}

struct Scale {
  float scale = 0, zero_point = 0;
};

inline Scale scale_of(const BlockTile& tile, size_t c, const SchemeParams& p) {
  const float mid = static_cast<float>(1u << (p.bits - 1)), max_code = 2 * mid - 1;
  const DType step = step_of(p.weight_dtype);
  ColumnRange r = column_range(tile, c);
  if (p.symmetric)
    return {round_to_dtype(signed_extreme(tile, c, r) / -mid, p.weight_dtype),
            p.bits == 8 ? mid : 0.0f};
  if (0 < r.lo) r.lo = 0;
  if (0 > r.hi) r.hi = 0;
  const float scale = round_to_dtype(round_to_dtype(r.hi - r.lo, step) / max_code, p.weight_dtype);
  if (scale == 0) return {scale, mid};
  const float zero = std::nearbyint(round_to_dtype(-r.lo / scale, step));
  return {scale, clamp_or_low(zero, 0.0f, max_code)};
}

inline int code_of(float x, const Scale& s, const SchemeParams& p) {
  if (s.scale == 0) return static_cast<int>(s.zero_point);
  const DType step = step_of(p.weight_dtype);
  const float mid = static_cast<float>(1u << (p.bits - 1));
  // Symmetric codes are clamped before they are raised.
  const float lo = p.symmetric ? -mid : 0.0f, zero = p.symmetric ? 0.0f : s.zero_point;
  const float quotient = round_to_dtype(x / s.scale, step);
  const float code = std::nearbyint(round_to_dtype(quotient + zero, step));
  const float raised = p.symmetric ? s.zero_point : 0.0f;
  return static_cast<int>(clamp_or_low(code, lo, lo + 2 * mid - 1) + raised);
}

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  for (size_t c = 0; c < tile.n_cols; ++c) {
    const Scale s = scale_of(tile, c, p);
    for (size_t k = 0; k < tile.n_rows; ++k)
      put_flat(out, k, c, code_of(tile.x[k * tile.stride + c], s, p));
    out.scales[c] = s.scale;
    if (out.zero_points) out.zero_points[c] = s.zero_point;
  }
}

inline BlockShape shape(const BlockSpec& s) {
  return flat_shape(s, s.params.symmetric && s.params.bits == 4);
}

inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec& s, Grid& g) {
  const Scale scale = scale_of(column_of(x), 0, scheme_params(s));
  g.scale[0] = scale.scale;
  g.offset[0] = scale.zero_point;
}

inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec& s) {
  return static_cast<uint8_t>(code_of(x, {g.scale[0], g.offset[0]}, scheme_params(s)));
}

inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec& s) {
  const bool is_signed = s.params.symmetric && s.params.bits == 4;
  return decode_column_code(is_signed ? static_cast<int8_t>(code) : code, g);
}

inline void unpack(const PlanesView& in, const BlockSpec& s, Grid& g, std::span<uint8_t> codes) {
  unpack_flat_column(in, s, s.params.bits == 8 ? 128 : 0, g, codes);
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

}  // namespace phiquant::quant::gather
