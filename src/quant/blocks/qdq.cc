#include "quant/blocks/qdq.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/blocks/qdq.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/blocks/default_scale-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// 4 bits. Products are at most about 2^4 in magnitude: the float conversion to int cannot overflow.
HWY_INLINE bool encode_qdq4_group(const BlockTile& t, const SchemeParams& p, const BlockCodes& o) {
  const DI di;
  const GroupScale s = default_scale(t, range_of(t), p);
  if (!hn::AllTrue(kF, hn::IsFinite(s.reciprocal))) return false;
  const VF zero_point = p.symmetric ? hn::Zero(kF) : s.zero_point,
           almost_half = hn::Set(kF, kAlmostHalf);
  const VI zero = hn::ConvertTo(di, zero_point);
  const VI lo = hn::Set(di, p.symmetric ? -8 : 0), hi = hn::Set(di, p.symmetric ? 7 : 15);
  for (size_t k = 0; k < t.n_rows; ++k) {
    const VF product = hn::Mul(row(t, k), s.reciprocal);
    const VI level = hn::ConvertTo(di, hn::Add(product, hn::CopySign(almost_half, product)));
    store_row(o, k, hn::Min(hn::Max(hn::Add(level, zero), lo), hi));
  }
  store_scales(o, s.stored, zero_point);
  return true;
}

HWY_INLINE bool encode_qdq8_group(const BlockTile& t, const SchemeParams& p, const BlockCodes& o) {
  const Range r = with_zero(range_of(t));
  const VF zero = hn::Zero(kF), one = hn::Set(kF, 1.0f);
  const VF extreme = hn::Max(hn::Neg(r.lo), r.hi);
  VF span = p.symmetric ? hn::Add(extreme, extreme) : hn::Sub(r.hi, r.lo);
  if (p.weight_dtype == DType::f16) span = round_f16(span);
  VF scale = round_to(hn::Div(span, hn::Set(kF, p.symmetric ? 254.0f : 255.0f)), p.weight_dtype);
  const MF tiny = hn::Lt(scale, hn::Set(kF, qdq::smallest_normal(p.weight_dtype)));
  scale = hn::IfThenElse(tiny, one, scale);
  VF zero_point = zero;
  if (!p.symmetric) {
    HWY_ALIGN float low[kMaxLanes], scales[kMaxLanes], zeros[kMaxLanes];
    hn::Store(r.lo, kF, low);
    hn::Store(scale, kF, scales);
    for (size_t c = 0; c < hn::Lanes(kF); ++c) zeros[c] = qdq::zero_point_8bit(low[c], scales[c]);
    zero_point = hn::IfThenZeroElse(tiny, hn::Load(kF, zeros));
  }
  const VF lo = hn::Set(kF, p.symmetric ? -128.0f : 0.0f),
           hi = hn::Set(kF, p.symmetric ? 127.0f : 255.0f);
  for (size_t k = 0; k < t.n_rows; ++k) {
    const VF level = hn::Round(hn::Div(row(t, k), scale));
    store_row(o, k, hn::ConvertTo(DI(), clamp(hn::Add(level, zero_point), lo, hi)));
  }
  store_scales(o, scale, zero_point);
  return true;
}

void encode_qdq(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  for_column_groups<Packing::k_major>(
      tile, p, out, qdq::encode_ref, [&](const BlockTile& t, const BlockCodes& o) HWY_ATTR {
        return p.bits == 8 ? encode_qdq8_group(t, p, o) : encode_qdq4_group(t, p, o);
      });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_qdq);
void qdq::encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  HWY_DYNAMIC_DISPATCH(encode_qdq)(tile, p, out);
}
}  // namespace phiquant::quant
#endif
