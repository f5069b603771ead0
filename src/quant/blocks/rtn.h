// rtn: round to nearest as in the Intel Neural Compressor port inside ONNX Runtime. For
// compatibility: the asymmetric rule does not put zero into the range, so that blocks of one sign
// come out wrong (a constant block becomes 0). Source:   onnxruntime 1.31,
// quantization/neural_compressor/weight_only.py, quant_tensor. Layout:   Packing::nbits; unsigned
// codes of 4 or 8 bits, x ~ (code - zero_point) * scale. A short block is padded
//           with
//           zeros, which take part in the range; the tail holds the code of 0.
// Symmetric:  scale = 2 * max |x| / (2^bits - 1), 1 for a zero block; zero point 2^(bits-1), not
// stored. Asymmetric: scale = (max - min) / (2^bits - 1), 1 where they are equal; zero point =
// clamp(round(-min / scale)). Codes:    clamp(round(x / scale + zero_point)), halves to even, all
// in double with the double scale; twice the
//           maximum, or max - min, is first rounded to the weight's dtype (f16: f16 arithmetic).
//           bf16 weights count as float, only the stored scale is bf16 (ONNX Runtime refuses bf16
//           here).
#pragma once

#include "quant/blocks/block_ref.h"

namespace phiquant::quant {

// clamp(round(x / scale + zero_point)) in double, halves to even; NaN (0 / 0) to 0.
inline unsigned divided_code(float x, double scale, double zero_point, unsigned max_code) {
  const double code = std::nearbyint(static_cast<double>(x) / scale + zero_point);
  return static_cast<unsigned>(clamp_or_low(code, 0.0, static_cast<double>(max_code)));
}

namespace rtn {

struct Range64 {
  double scale = 1;
  double zero_point = 0;
};

inline Range64 range_of(const ColumnRange& r, const SchemeParams& p) {
  const double max_code = (1u << p.bits) - 1;
  const DType arithmetic = p.weight_dtype == DType::f16 ? DType::f16 : DType::f32;
  if (p.symmetric) {
    const float extreme = std::fabs(r.lo) > std::fabs(r.hi) ? std::fabs(r.lo) : std::fabs(r.hi);
    const double scale =
        extreme > 0 ? static_cast<double>(round_to_dtype(extreme * 2, arithmetic)) / max_code : 1.0;
    return {scale, static_cast<double>(1u << (p.bits - 1))};
  }
  const double scale =
      r.lo != r.hi ? static_cast<double>(round_to_dtype(r.hi - r.lo, arithmetic)) / max_code : 1.0;
  return {scale,
          clamp_or_low(std::nearbyint((0.0 - static_cast<double>(r.lo)) / scale), 0.0, max_code)};
}

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  const unsigned max_code = (1u << p.bits) - 1;
  for (size_t c = 0; c < tile.n_cols; ++c) {
    const Range64 r = range_of(padded_range(tile, c, p.block_size), p);
    PackedColumn column(out, c, p);
    for (size_t k = 0; k < p.block_size; ++k)
      column.put(k, divided_code(padded(tile, k, c), r.scale, r.zero_point, max_code));
    out.scales[c] = round_to_dtype(static_cast<float>(r.scale), p.weight_dtype);
    if (out.zero_points) out.zero_points[c] = static_cast<float>(r.zero_point);
  }
}

// The same bytes, fast.
void encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out);

}  // namespace rtn
}  // namespace phiquant::quant
