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

#include "quant/blocks/block_ref.h"

namespace phiquant::quant::gather {

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  const float mid = static_cast<float>(1u << (p.bits - 1));
  const float max_code = 2 * mid - 1;
  const DType t = p.weight_dtype;
  const DType step = t == DType::f16 ? DType::f16 : DType::f32;  // what each operation rounds to
  const float bias = p.bits == 8 ? mid : 0.0f;
  for (size_t c = 0; c < tile.n_cols; ++c) {
    ColumnRange r = column_range(tile, c);
    float scale, zero = 0, lo = -mid, hi = mid - 1;
    if (p.symmetric) {
      scale = round_to_dtype(signed_extreme(tile, c, r) / -mid, t);
    } else {
      if (0 < r.lo) r.lo = 0;
      if (0 > r.hi) r.hi = 0;
      scale = round_to_dtype(round_to_dtype(r.hi - r.lo, step) / max_code, t);
      lo = 0;
      hi = max_code;
      zero = scale == 0 ? mid
                        : clamp_or_low(std::nearbyint(round_to_dtype(-r.lo / scale, step)), 0.0f,
                                       max_code);
    }
    for (size_t k = 0; k < tile.n_rows; ++k) {
      const float quotient = round_to_dtype(tile.x[k * tile.stride + c] / scale, step);
      float code =
          scale == 0 ? zero
                     : clamp_or_low(std::nearbyint(round_to_dtype(quotient + zero, step)), lo, hi);
      if (p.symmetric) code += bias;
      put_flat(out, k, c, static_cast<int>(code));
    }
    out.scales[c] = scale;
    if (out.zero_points) out.zero_points[c] = p.symmetric ? bias : zero;
  }
}

// The same bytes, fast.
void encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out);

}  // namespace phiquant::quant::gather
