// q8_0: 32 values, one scale, a byte a code. The specification.
// Source:  ggml src/ggml-quants.c of llama.cpp b11434, quantize_row_q8_0_ref; GGUF type 8.
// Layout:  f16 d, 32 int8 codes, in order.
// Value:   x ~ d * code.
// Codes:   d = largest magnitude / 127; x * (1/d), halves away from zero. d here is not yet rounded
//          to f16. An imatrix is not used.
// Edges:   a block of zeros: d 0, codes 0. 1/d not finite: every code 0.
#pragma once

#include "quant/ggml/blocks.h"

namespace phiquant::quant::q8_0 {

inline constexpr size_t kBytes = 34;

inline BlockShape shape(const BlockSpec&) {
  return {ggml::kSmall, ggml::kSmall, -127, 255, {PlaneShape{kBytes}}};
}

inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec&, Grid& g) {
  const float d = std::fabs(ggml::first_largest(x)) / 127;
  const float inverse = ggml::inverse_or_zero(d);
  g.scale[0] = ggml::through_f16(d);
  g.by[0] = std::isinf(inverse) ? 0 : inverse;
}

inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec&) {
  const float code = std::clamp(std::round(x * g.by[0]), -127.0f, 127.0f);
  return static_cast<uint8_t>(static_cast<int8_t>(code));
}

inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec&) {
  return static_cast<float>(static_cast<int8_t>(code)) * g.scale[0];
}

inline void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                 const Planes& out) {
  ggml::store_f16(out[0], g.scale[0]);
  std::memcpy(out[0] + 2, codes.data(), ggml::kSmall);
}

inline void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  g.scale[0] = ggml::load_f16(in[0]);
  g.by[0] = ggml::inverse_or_zero(g.scale[0]);
  std::memcpy(codes.data(), in[0] + 2, ggml::kSmall);
}

inline constexpr EncodingParts kParts = {shape, fit,    round,          decode_code,
                                         pack,  unpack, PeerRule::parts};

inline void encode_block_ref(const float* x, std::byte* out) {
  ggml::encode_by_parts<kParts, ggml::kSmall>(x, nullptr, out);
}

inline void encode_ref(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  ggml::for_each_block<ggml::kSmall, kBytes>(
      tile, out,
      [](const float* x, const float*, std::byte* block) { encode_block_ref(x, block); });
}

inline void decode_ref(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&,
                       float* x) {
  ggml::for_each_stored<ggml::kSmall, kBytes>(in, n_rows * k, x,
                                              ggml::decode_by_parts<kParts, ggml::kSmall>);
}

// The same, fast.
void encode(const RowTile& tile, const RowParams&, const RowPlanes& out);
void decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x);

}  // namespace phiquant::quant::q8_0
