#include "quant/q8_0.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/q8_0.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

using DInt8 = hn::Rebind<int8_t, DF>;

// std::round for |v| < 2^22: truncation of v + 1/2 would be wrong just below halves.
HWY_INLINE VI round_half_away(VF v) {
  const VI whole = hn::ConvertTo(kI, v);
  const VF rest = hn::Sub(v, hn::ConvertTo(kF, whole));
  const VI one = hn::Or(hn::ShiftRight<31>(hn::BitCast(kI, v)), hn::Set(kI, 1));
  const auto up = hn::RebindMask(kI, hn::Ge(hn::Abs(rest), hn::Set(kF, 0.5f)));
  return hn::Add(whole, hn::IfThenElseZero(up, one));
}

void encode_q8_0(const RowTile& tile, const RowPlanes& out) {
  const DInt8 d8;
  for (size_t b = 0; b < tile.n_rows * tile.k / ggml::kSmall; ++b) {
    const float* x = tile.x + b * ggml::kSmall;
    std::byte* block = out[0] + b * q8_0::kBytes;
    VF magnitude = hn::Zero(kF);
    for (size_t i = 0; i < ggml::kSmall; i += kLanes)
      magnitude = hn::Max(magnitude, hn::Abs(hn::LoadU(kF, x + i)));
    const float d = hn::GetLane(hn::MaxOfLanes(kF, magnitude)) / 127;
    const float inverse = inverse_or_zero(d);
    if (std::isinf(inverse)) {
      q8_0::encode_block_ref(x, block);
      continue;
    }
    ggml::store_f16(block, d);
    for (size_t i = 0; i < ggml::kSmall; i += kLanes) {
      const VI code = round_half_away(hn::Mul(hn::LoadU(kF, x + i), hn::Set(kF, inverse)));
      hn::StoreU(hn::DemoteTo(d8, code), d8, reinterpret_cast<int8_t*>(block) + 2 + i);
    }
  }
}

void decode_q8_0(const RowPlanesView& in, size_t n_values, float* x) {
  const DInt8 d8;
  for (size_t b = 0; b < n_values / ggml::kSmall; ++b) {
    const std::byte* block = in[0] + b * q8_0::kBytes;
    const VF d = hn::Set(kF, ggml::load_f16(block));
    for (size_t i = 0; i < ggml::kSmall; i += kLanes) {
      const auto codes = hn::LoadU(d8, reinterpret_cast<const int8_t*>(block) + 2 + i);
      hn::StoreU(hn::Mul(hn::ConvertTo(kF, hn::PromoteTo(kI, codes)), d), kF,
                 x + b * ggml::kSmall + i);
    }
  }
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_q8_0);
HWY_EXPORT(decode_q8_0);

void q8_0::encode(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q8_0)(tile, out);
}
void q8_0::decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q8_0)(in, n_rows * k, x);
}
}  // namespace phiquant::quant
#endif
