#include "quant/blocks/gather.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/blocks/gather.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/blocks/block_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// kHalf: every operation rounds to f16.
template <bool kHalf>
HWY_INLINE VF step(VF v) {
  if constexpr (kHalf) return round_f16(v);
  return v;
}

template <bool kHalf>
HWY_INLINE void encode_gather_group(const BlockTile& t, const SchemeParams& p,
                                    const BlockCodes& o) {
  const float mid_code = static_cast<float>(1u << (p.bits - 1));
  const VF zero = hn::Zero(kF), mid = hn::Set(kF, mid_code),
           max_code = hn::Set(kF, 2 * mid_code - 1);
  const VF bias = p.symmetric && p.bits == 8 ? mid : zero;
  const VF lo = p.symmetric ? hn::Neg(mid) : zero,
           hi = p.symmetric ? hn::Set(kF, mid_code - 1) : max_code;
  const Range r = p.symmetric ? range_of(t) : with_zero(range_of(t));
  const VF scale =
      p.symmetric ? round_to(hn::Div(extreme_of(t, r), hn::Neg(mid)), p.weight_dtype)
                  : round_to(hn::Div(step<kHalf>(hn::Sub(r.hi, r.lo)), max_code), p.weight_dtype);
  const MF none = hn::Eq(scale, zero);
  const VF divides = hn::IfThenElse(none, hn::Set(kF, 1.0f), scale);
  VF zero_point = zero;
  if (!p.symmetric) {
    const VF rounded = hn::Round(step<kHalf>(hn::Sub(zero, hn::Div(r.lo, divides))));
    zero_point = hn::IfThenElse(none, mid, clamp(rounded, zero, max_code));
  }
  for (size_t k = 0; k < t.n_rows; ++k) {
    const VF sum = step<kHalf>(hn::Add(step<kHalf>(hn::Div(row(t, k), divides)), zero_point));
    const VF code = hn::IfThenElse(none, zero_point, clamp(hn::Round(sum), lo, hi));
    store_row(o, k, hn::ConvertTo(DI(), hn::Add(code, bias)));
  }
  store_scales(o, scale, p.symmetric ? bias : zero_point);
}

void encode_gather(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  const bool half = p.weight_dtype == DType::f16;
  for_column_groups<Packing::n_major>(
      tile, p, out, gather::encode_ref, [&](const BlockTile& t, const BlockCodes& o) HWY_ATTR {
        half ? encode_gather_group<true>(t, p, o) : encode_gather_group<false>(t, p, o);
        return true;
      });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_gather);
void gather::encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  HWY_DYNAMIC_DISPATCH(encode_gather)(tile, p, out);
}
}  // namespace phiquant::quant
#endif
