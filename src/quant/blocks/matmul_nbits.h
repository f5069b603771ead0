// matmul_nbits: what ONNX Runtime's default weight-only quantizer writes.
// Source:   onnxruntime 1.31, mlas/lib/q4_dq.cpp (BlockwiseQuantizer); operator
// com.microsoft::MatMulNBits. Layout:   Packing::nbits; unsigned codes of 2, 4 or 8 bits, x ~ (code
// - zero_point) * scale. Tail of a short block 0. Symmetric:  m = the value furthest from zero,
// with its sign; scale = -m / 2^(bits-1), often negative;
//             zero point 2^(bits-1), not stored. The far side hits code 0 exactly, the other may
//             clip.
// Asymmetric: range widened to hold 0; scale = (hi - lo) / (2^bits - 1); zero point from that
// unrounded scale. Codes:    clamp(round(x * r + zero_point)), halves away from zero; r = 1 / scale
// in float, 0 where the scale is 0.
//           Product and sum round separately. f16: r comes from the rounded scale. bf16: from the
//           unrounded float, because ONNX Runtime widens bf16 weights to float before and rounds
//           scales after quantizing.
// Edges:    zero block: scale 0, codes = zero point. A subnormal scale has r = infinity: 0 *
// infinity gives code 0.
#pragma once

#include "quant/blocks/block_ref.h"

namespace phiquant::quant {

// Scale and offset of one column of a block.
struct BlockScale {
  float stored = 0;      // representable in the weight's dtype
  float reciprocal = 0;  // multiplies values
  float zero_point = 0;  // an integer
};

inline float reciprocal_or_zero(float scale) { return scale != 0 ? 1.0f / scale : 0.0f; }

// The float that divides: rounded for f16 only.
inline float dividing_scale(float scale, DType weight_dtype) {
  return weight_dtype == DType::f16 ? round_to_dtype(scale, weight_dtype) : scale;
}

inline BlockScale default_symmetric_scale(const BlockTile& tile, size_t c, const SchemeParams& p) {
  const float mid = static_cast<float>(1u << (p.bits - 1));
  const float scale = -signed_extreme(tile, c, column_range(tile, c)) / mid;
  return {round_to_dtype(scale, p.weight_dtype),
          reciprocal_or_zero(dividing_scale(scale, p.weight_dtype)), mid};
}

inline BlockScale default_asymmetric_scale(const BlockTile& tile, size_t c, const SchemeParams& p) {
  const float max_code = static_cast<float>((1u << p.bits) - 1);
  ColumnRange r = column_range(tile, c);
  if (0 < r.lo) r.lo = 0;
  if (0 > r.hi) r.hi = 0;
  const float scale = (r.hi - r.lo) / max_code;
  const float zero = scale != 0 ? 0.0f - r.lo / scale : r.lo;
  return {round_to_dtype(scale, p.weight_dtype),
          reciprocal_or_zero(dividing_scale(scale, p.weight_dtype)),
          std::round(clamp_or_low(zero, 0.0f, max_code))};
}

inline BlockScale default_scale(const BlockTile& tile, size_t c, const SchemeParams& p) {
  return p.symmetric ? default_symmetric_scale(tile, c, p) : default_asymmetric_scale(tile, c, p);
}

namespace matmul_nbits {

inline unsigned code_of(float x, float reciprocal, float zero_point, unsigned bits) {
  const float max_code = static_cast<float>((1u << bits) - 1);
  const float product = x * reciprocal;
  return static_cast<unsigned>(clamp_or_low(std::round(product + zero_point), 0.0f, max_code));
}

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  for (size_t c = 0; c < tile.n_cols; ++c) {
    const BlockScale s = default_scale(tile, c, p);
    PackedColumn column(out, c, p);
    for (size_t k = 0; k < tile.n_rows; ++k)
      column.put(k, code_of(tile.x[k * tile.stride + c], s.reciprocal, s.zero_point, p.bits));
    out.scales[c] = s.stored;
    if (out.zero_points) out.zero_points[c] = s.zero_point;
  }
}

// The same bytes, fast.
void encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out);

}  // namespace matmul_nbits
}  // namespace phiquant::quant
