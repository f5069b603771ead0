// What quantization cost: sums over pairs of tiles, in double.
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/error_sums.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

bool tile_sums(const float*, const float*, size_t, size_t, size_t, ErrorSums&) { return false; }

#else

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kPartials = 8;
using D = hn::CappedTag<double, kPartials>;
using DF = hn::Rebind<float, D>;
using V = hn::Vec<D>;
constexpr D kDoubles;
constexpr DF kFloats;
constexpr size_t kLanes = hn::MaxLanes(D());

// The sums of kLanes neighbouring partials.
struct Sums {
  V signal, noise, dot, approx, max_abs;
};

HWY_INLINE void add_pair(const float* x, const float* y, Sums& s) {
  const V a = hn::PromoteTo(kDoubles, hn::LoadU(kFloats, x)),
          b = hn::PromoteTo(kDoubles, hn::LoadU(kFloats, y));
  const V e = hn::Sub(a, b), magnitude = hn::Abs(e);
  s.signal = hn::Add(s.signal, hn::Mul(a, a));
  s.noise = hn::Add(s.noise, hn::Mul(e, e));
  s.dot = hn::Add(s.dot, hn::Mul(a, b));
  s.approx = hn::Add(s.approx, hn::Mul(b, b));
  s.max_abs = hn::Max(s.max_abs, magnitude);
}

// A rest of fewer than kPartials columns, filled up with zeros: they change no sum.
HWY_NOINLINE void copy_rest(const float* x, size_t n, float* out) {
  for (size_t i = 0; i < kPartials; ++i) out[i] = i < n ? x[i] : 0.0f;
}

// One row; `first`: the first of the kLanes partials that this pass adds to.
HWY_INLINE void add_row(const float* x, const float* y, size_t n_cols, size_t first, Sums& s) {
  const size_t whole = n_cols - n_cols % kPartials;
  for (size_t c = first; c < whole; c += kPartials) add_pair(x + c, y + c, s);
  if (whole == n_cols) return;
  float x_rest[kPartials], y_rest[kPartials];
  copy_rest(x + whole, n_cols - whole, x_rest);
  copy_rest(y + whole, n_cols - whole, y_rest);
  add_pair(x_rest + first, y_rest + first, s);
}

// False where a sum is not finite; `total` is then unusable.
bool tile_sums(const float* x, const float* y, size_t stride, size_t n_rows, size_t n_cols,
               ErrorSums& total) {
  HWY_ALIGN double partial[5][kPartials] = {};
  for (size_t r = 0; r < n_rows; ++r)
    for (size_t first = 0; first < kPartials;
         first += kLanes) {  // the second pass finds the row in the cache
      Sums s{hn::Load(kDoubles, partial[0] + first), hn::Load(kDoubles, partial[1] + first),
             hn::Load(kDoubles, partial[2] + first), hn::Load(kDoubles, partial[3] + first),
             hn::Load(kDoubles, partial[4] + first)};
      add_row(x + r * stride, y + r * stride, n_cols, first, s);
      hn::Store(s.signal, kDoubles, partial[0] + first);
      hn::Store(s.noise, kDoubles, partial[1] + first);
      hn::Store(s.dot, kDoubles, partial[2] + first);
      hn::Store(s.approx, kDoubles, partial[3] + first);
      hn::Store(s.max_abs, kDoubles, partial[4] + first);
    }
  for (size_t i = 0; i < kPartials; ++i)
    total.add({partial[0][i], partial[1][i], partial[2][i], partial[3][i], partial[4][i], 0});
  total.n = n_rows * n_cols;
  // A NaN or infinity on either side reaches one of these; floats alone cannot overflow them.
  return std::isfinite(total.signal) && std::isfinite(total.approx);
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
namespace {

HWY_EXPORT(tile_sums);

}  // namespace

void error_sums(const float* x, const float* y, size_t stride, size_t n_rows, size_t n_cols,
                ErrorSums& sums) {
  ErrorSums total;
  if (HWY_DYNAMIC_DISPATCH(tile_sums)(x, y, stride, n_rows, n_cols, total))
    sums.add(total);
  else
    error_sums_ref(x, y, stride, n_rows, n_cols, sums);
}

}  // namespace phiquant::quant
#endif  // HWY_ONCE
