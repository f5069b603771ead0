// Codes that are rounded from a division in double, at the price of a multiplication in float.
// Included once per instruction set.
#if defined(PHIQUANT_QUANT_DIVIDED_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_DIVIDED_CODES_INL_H_
#undef PHIQUANT_QUANT_DIVIDED_CODES_INL_H_
#else
#define PHIQUANT_QUANT_DIVIDED_CODES_INL_H_
#endif

#include <bit>

#include "quant/blocks/block_simd-inl.h"
#include "quant/blocks/rtn.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// clamp(round(double(x) / scale + zero_point)), halves to even. The float product decides unless it
// lies so near to a half that it could round otherwise; such lanes divide.
//
// Where the clamped sum v is in (0, max), |x * r| <= max; r is off by 2^-23 of itself, the product
// by 2^-24, the sum by 2^-24 * max, the double path by far less: together below max * 2^-22.
// near_half_ leaves four times that.
class DividedCodes {
 public:
  // reciprocal = 1 / float(scale), moderate(); zero_point in 0 .. max_code.
  DividedCodes(VF reciprocal, VF zero_point, const double* scales, unsigned max_code)
      : reciprocal_(reciprocal),
        zero_point_(zero_point),
        max_(hn::Set(kF, static_cast<float>(max_code))),
        near_half_(hn::Set(kF, 0.5f - static_cast<float>(max_code) * 0x1p-20f)),
        known_value_(hn::Zero(kF)),
        known_code_(hn::Zero(kF)),
        scales_(scales),
        max_code_(max_code) {}

  // Tells of a value that always lies about half way between codes 0 and 1 (the low end of a
  // symmetric range), so that it costs one division.
  HWY_INLINE void know_half(VF value) {
    HWY_ALIGN float values[kMaxLanes], zeros[kMaxLanes], codes[kMaxLanes];
    hn::Store(value, kF, values);
    hn::Store(zero_point_, kF, zeros);
    for (size_t c = 0; c < hn::Lanes(kF); ++c)
      codes[c] = static_cast<double>(values[c]) / scales_[c] + static_cast<double>(zeros[c]) > 0.5
                     ? 1.0f
                     : 0.0f;
    known_value_ = value;
    known_code_ = hn::Load(kF, codes);
    knows_ = true;
  }

  HWY_INLINE VI operator()(VF x) const {
    const VF v = clamp(hn::Add(hn::Mul(x, reciprocal_), zero_point_), hn::Zero(kF), max_);
    const VF code = round_even_small(v);
    const MF near = hn::Gt(hn::Abs(hn::Sub(v, code)), near_half_);
    if (HWY_LIKELY(hn::AllFalse(kF, near))) return hn::ConvertTo(DI(), code);
    if (!knows_) return divide(x, code, near);
    const MF known = hn::And(near, hn::Eq(x, known_value_));
    const VF filled = hn::IfThenElse(known, known_code_, code);
    const MF rest = hn::AndNot(known, near);
    return hn::AllFalse(kF, rest) ? hn::ConvertTo(DI(), filled) : divide(x, filled, rest);
  }

 private:
  HWY_NOINLINE VI divide(VF x, VF code, MF near) const {
    HWY_ALIGN float values[kMaxLanes], codes[kMaxLanes], zeros[kMaxLanes];
    hn::Store(x, kF, values);
    hn::Store(code, kF, codes);
    hn::Store(zero_point_, kF, zeros);
    uint8_t bytes[8] = {};  // StoreMaskBits may write eight
    hn::StoreMaskBits(kF, near, bytes);
    for (unsigned bits = bytes[0] | static_cast<unsigned>(bytes[1]) << 8; bits != 0;
         bits &= bits - 1) {
      const auto c = static_cast<size_t>(std::countr_zero(bits));
      codes[c] = static_cast<float>(
          divided_code(values[c], scales_[c], static_cast<double>(zeros[c]), max_code_));
    }
    return hn::ConvertTo(DI(), hn::Load(kF, codes));
  }

  VF reciprocal_, zero_point_, max_, near_half_, known_value_, known_code_;
  const double* scales_;
  unsigned max_code_;
  bool knows_ = false;
};

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
