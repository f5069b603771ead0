// The scales of matmul_nbits.h for a group of columns. Included once per instruction set.
#if defined(PHIQUANT_QUANT_DEFAULT_SCALE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_DEFAULT_SCALE_INL_H_
#undef PHIQUANT_QUANT_DEFAULT_SCALE_INL_H_
#else
#define PHIQUANT_QUANT_DEFAULT_SCALE_INL_H_
#endif

#include "quant/blocks/block_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

struct GroupScale {
  VF stored, reciprocal, zero_point;
};

HWY_INLINE GroupScale finish_default_scale(VF scale, VF zero_point, DType type) {
  const VF stored = round_to(scale, type);
  const VF divides = type == DType::f16 ? stored : scale;
  const VF reciprocal =
      hn::IfThenZeroElse(hn::Eq(divides, hn::Zero(kF)), hn::Div(hn::Set(kF, 1.0f), divides));
  return {stored, reciprocal, zero_point};
}

// `range`: of the tile.
HWY_INLINE GroupScale default_scale(const BlockTile& t, const Range& range, const SchemeParams& p) {
  const float mid = static_cast<float>(1u << (p.bits - 1));
  if (p.symmetric)
    return finish_default_scale(hn::Div(hn::Neg(extreme_of(t, range)), hn::Set(kF, mid)),
                                hn::Set(kF, mid), p.weight_dtype);
  const VF zero = hn::Zero(kF), max_code = hn::Set(kF, 2 * mid - 1);
  const Range r = with_zero(range);
  const VF scale = hn::Div(hn::Sub(r.hi, r.lo), max_code);
  // 0 / 0 where the scale is 0; the select drops it.
  const VF exact = hn::Sub(zero, hn::Div(r.lo, scale));
  const VF safe = hn::IfThenElse(hn::Gt(exact, zero), hn::Min(exact, max_code), zero);
  const VF rounded = hn::Trunc(hn::Add(safe, hn::Set(kF, kAlmostHalf)));
  return finish_default_scale(scale, hn::IfThenZeroElse(hn::Eq(scale, zero), rounded),
                              p.weight_dtype);
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
