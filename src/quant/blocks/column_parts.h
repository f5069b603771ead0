// What the parts of the ONNX layouts share: a block is a column of one tile; planes of codes,
// scales and zero points.
#pragma once

#include <cstring>

#include "quant/blocks/block_ref.h"
#include "quant/parts.h"
#include "quant/stored_float.h"

namespace phiquant::quant {

// What the runtimes' kernels take.
inline constexpr uint32_t kBlockSizes = 16 | 32 | 64 | 128 | 256;

inline SchemeParams scheme_params(const BlockSpec& s) {
  return {s.params.bits, s.params.block_size, s.params.symmetric, s.scale_dtype};
}

inline BlockTile column_of(std::span<const float> x) { return {x.data(), 1, x.size(), 1}; }

// As block_schemes() decode: (code - zero point) * scale.
inline float decode_column_code(int code, const Grid& g) {
  return (static_cast<float>(code) - g.offset[0]) * g.scale[0];
}

// ---- Codes and zero points that lie flat over the tensor (Packing::k_major, n_major) ----

inline BlockShape flat_shape(const BlockSpec& s, bool is_signed) {
  const size_t n = s.params.block_size;
  const unsigned bits = s.params.bits;
  BlockShape shape{n, n, is_signed ? -(1 << (bits - 1)) : 0, 1 << bits, {}};
  shape.planes[0] = {n, bits};
  shape.planes[1] = {dtype_bits(s.scale_dtype) / 8};
  if (!s.params.symmetric) shape.planes[2] = {1, bits};
  return shape;
}

inline void pack_flat_column(std::span<const uint8_t> codes, const Grid& g, const BlockSpec& s,
                             const Planes& out) {
  std::memcpy(out[0], codes.data(), codes.size());
  store_float(g.scale[0], s.scale_dtype, out[1]);
  if (out[2]) out[2][0] = static_cast<std::byte>(static_cast<int>(g.offset[0]));
}

// `default_zero`: of symmetric codes.
inline void unpack_flat_column(const PlanesView& in, const BlockSpec& s, float default_zero,
                               Grid& g, std::span<uint8_t> codes) {
  std::memcpy(codes.data(), in[0], codes.size());
  g.scale[0] = load_float(in[1], s.scale_dtype);
  g.offset[0] =
      s.params.symmetric ? default_zero : static_cast<float>(std::to_integer<unsigned>(in[2][0]));
}

}  // namespace phiquant::quant
