#include "quant/numeric/sin_cos.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/numeric/sin_cos.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DD = hn::ScalableTag<double>;
using DF = hn::Rebind<float, DD>;
using VD = hn::Vec<DD>;
constexpr DD kDoubles;

// pi / 2 in three parts. The first has 33 bits: its product with a multiple below 2^20 is exact,
// and so is what remains of the angle; the second likewise. What the third leaves out is below
// 2^-100.
constexpr double kHalfPi1 = 0x1.921fb544p+0, kHalfPi2 = 0x1.0b4611a6p-34,
                 kHalfPi3 = 0x1.3198a2e037073p-69;

// Sine of angles + quarter_turns * pi / 2, with a relative error below 2^-49: Highway's functions
// are right to 3 units of the last place, the remainder to one.
HWY_INLINE VD sin_near(VD angles, double quarter_turns) {
  const VD n = hn::Round(hn::Mul(angles, hn::Set(kDoubles, 0x1.45f306dc9c883p-1)));
  VD r = hn::Sub(angles, hn::Mul(n, hn::Set(kDoubles, kHalfPi1)));
  r = hn::Sub(r, hn::Mul(n, hn::Set(kDoubles, kHalfPi2)));
  r = hn::Sub(r, hn::Mul(n, hn::Set(kDoubles, kHalfPi3)));
  // The quadrant, n + quarter_turns modulo 4, in halves: exact, n is small.
  const VD half = hn::Set(kDoubles, 0.5);
  const VD turns = hn::Mul(hn::Add(n, hn::Set(kDoubles, quarter_turns)), half);
  const auto swaps = hn::Ne(turns, hn::Floor(turns));
  const VD pairs = hn::Mul(hn::Floor(turns), half);
  const auto turns_back = hn::Ne(pairs, hn::Floor(pairs));
  const VD v = hn::IfThenElse(swaps, hn::Cos(kDoubles, r), hn::Sin(kDoubles, r));
  return hn::IfThenElse(turns_back, hn::Neg(v), v);
}

// Angles as far as the first vector that has one of 2^20 or more, a value that lies so close to the
// middle between two floats that its error decides, or a zero, whose sign is lost.
size_t sin_prefix(const float* angles, size_t n, double quarter_turns, float* out) {
  constexpr double kError = 0x1p-49;
  const DF df;
  const size_t lanes = hn::Lanes(kDoubles);
  const VD below = hn::Set(kDoubles, 1 - kError), above = hn::Set(kDoubles, 1 + kError);
  for (size_t i = 0; i + lanes <= n; i += lanes) {
    const VD a = hn::PromoteTo(kDoubles, hn::LoadU(df, angles + i));
    const VD v = sin_near(a, quarter_turns);
    const auto low = hn::DemoteTo(df, hn::Mul(v, below));
    const auto high = hn::DemoteTo(df, hn::Mul(v, above));
    if (!hn::AllTrue(kDoubles, hn::Lt(hn::Abs(a), hn::Set(kDoubles, 0x1p20))) ||
        !hn::AllTrue(df, hn::And(hn::Eq(low, high), hn::Ne(low, hn::Zero(df)))))
      return i;
    hn::StoreU(low, df, out + i);
  }
  return n - n % lanes;
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant {
namespace quant {
namespace {

HWY_EXPORT(sin_prefix);

constexpr size_t kMaxLanes = 8;

template <class Exact>
void nearest(const float* angles, size_t n, double quarter_turns, float* out, const Exact& exact) {
  for (size_t i = 0; i < n;) {
    i += HWY_DYNAMIC_DISPATCH(sin_prefix)(angles + i, n - i, quarter_turns, out + i);
    for (const size_t end = std::min(n, i + kMaxLanes); i < end; ++i)
      out[i] = static_cast<float>(exact(static_cast<double>(angles[i])));
  }
}

}  // namespace
}  // namespace quant

void nearest_sin(const float* angles, size_t n, float* out) {
  quant::nearest(angles, n, 0, out, [](double a) { return std::sin(a); });
}

void nearest_cos(const float* angles, size_t n, float* out) {
  quant::nearest(angles, n, 1, out, [](double a) { return std::cos(a); });
}

}  // namespace phiquant
#endif  // HWY_ONCE
