// The parts of 8-bit codes with one scale for a channel or a tensor, which is the block: the rules
// of int8_from_range() and int8_code() (kernels.h). A zero point is always stored.
#pragma once

#include <limits>

#include "quant/blocks/column_parts.h"
#include "quant/kernels.h"

namespace phiquant::quant::int8 {

// Codes behind DequantizeLinear are always int8, those of quantize_dynamic uint8 when asymmetric.
enum class Signs : uint8_t { always, symmetric };

template <Signs kSigns>
constexpr bool is_signed(const BlockSpec& s) {
  return kSigns == Signs::always || s.params.symmetric;
}

template <Signs kSigns>
inline BlockShape shape(const BlockSpec& s) {
  const size_t n = s.channel, scale_bytes = dtype_bits(s.scale_dtype) / 8;
  return {n, n, is_signed<kSigns>(s) ? -128 : 0, 256, {{{n}, {scale_bytes}, {1}}}};
}

template <Signs kSigns>
inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec& s, Grid& g) {
  float lo = std::numeric_limits<float>::infinity(), hi = -lo;
  column_min_max_ref(x.data(), 1, x.size(), 1, &lo, &hi);
  const Int8Params a =
      int8_from_range(lo, hi, s.params.symmetric, is_signed<kSigns>(s), false, s.scale_dtype);
  g.scale[0] = a.scale;
  g.offset[0] = static_cast<float>(a.zero_point);
}

template <Signs kSigns>
inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec& s) {
  const Int8Params a{g.scale[0], static_cast<int32_t>(g.offset[0])};
  return static_cast<uint8_t>(int8_code(x, a, is_signed<kSigns>(s)));
}

template <Signs kSigns>
inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec& s) {
  return decode_column_code(is_signed<kSigns>(s) ? static_cast<int8_t>(code) : code, g);
}

template <Signs kSigns>
inline void unpack(const PlanesView& in, const BlockSpec& s, Grid& g, std::span<uint8_t> codes) {
  unpack_flat_column(in, s, 0, g, codes);
  const auto zero = std::to_integer<uint8_t>(in[2][0]);
  g.offset[0] = is_signed<kSigns>(s) ? static_cast<float>(static_cast<int8_t>(zero))
                                     : static_cast<float>(zero);
}

template <Signs kSigns>
inline constexpr EncodingParts kParts = {
    shape<kSigns>,    fit<kSigns>,    round<kSigns>,   decode_code<kSigns>,
    pack_flat_column, unpack<kSigns>, PeerRule::parts, {1 << 8, 0, true, true}};

}  // namespace phiquant::quant::int8
