// 8-bit codes with a scale and offset per column, and the range they come from.
#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/numeric/int8.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

size_t min_max_columns(const float*, size_t, size_t, size_t, float*, float*) { return 0; }
size_t encode_columns(const float*, size_t, size_t, size_t, const Int8Params*, bool, std::byte*,
                      size_t) {
  return 0;
}

#else

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
constexpr DF kFloats;
constexpr size_t kLanes = hn::MaxLanes(DF());

// Which of two equal zeros Min and Max return depends on the CPU, so compare and select.
HWY_INLINE void widen_range(VF v, VF& lo, VF& hi) {
  lo = hn::IfThenElse(hn::Lt(v, lo), v, lo);
  hi = hn::IfThenElse(hn::Gt(v, hi), v, hi);
}

// Both return the number of columns done. Rows go by fours: the running range is then loaded once
// for four.
size_t min_max_columns(const float* x, size_t stride, size_t n_rows, size_t n_cols, float* lo,
                       float* hi) {
  const size_t whole = n_cols - n_cols % kLanes;
  for (size_t r = 0; r < n_rows; r += 4) {
    const size_t rows = std::min<size_t>(4, n_rows - r);
    for (size_t c = 0; c < whole; c += kLanes) {
      const float* at = x + r * stride + c;
      VF low = hn::LoadU(kFloats, lo + c), high = hn::LoadU(kFloats, hi + c);
      if (rows == 4) {
        for (size_t j = 0; j < 4; ++j) widen_range(hn::LoadU(kFloats, at + j * stride), low, high);
      } else {
        for (size_t j = 0; j < rows; ++j)
          widen_range(hn::LoadU(kFloats, at + j * stride), low, high);
      }
      hn::StoreU(low, kFloats, lo + c);
      hn::StoreU(high, kFloats, hi + c);
    }
  }
  return whole;
}

template <class T>
void encode_run(const float* x, size_t stride, size_t n_rows, size_t n_cols, const float* scales,
                const float* zeros, T* codes, size_t codes_stride) {
  const hn::RebindToSigned<DF> ints;
  const hn::Rebind<T, DF> narrow;
  const VF lowest = hn::Set(kFloats, static_cast<float>(std::numeric_limits<T>::min()));
  const VF highest = hn::Set(kFloats, static_cast<float>(std::numeric_limits<T>::max()));
  for (size_t r = 0; r < n_rows; ++r)
    for (size_t c = 0; c < n_cols; c += kLanes) {
      const VF scaled =
          hn::Div(hn::LoadU(kFloats, x + r * stride + c), hn::Load(kFloats, scales + c));
      const VF shifted = hn::Add(hn::Round(scaled), hn::Load(kFloats, zeros + c));
      const VF clipped = hn::Min(hn::Max(shifted, lowest), highest);
      hn::StoreU(hn::DemoteTo(narrow, hn::ConvertTo(ints, clipped)), narrow,
                 codes + r * codes_stride + c);
    }
}

size_t encode_columns(const float* x, size_t stride, size_t n_rows, size_t n_cols,
                      const Int8Params* per_column, bool is_signed, std::byte* codes,
                      size_t codes_stride) {
  constexpr size_t kRun = 512;
  HWY_ALIGN float scales[kRun], zeros[kRun];
  const size_t whole = n_cols - n_cols % kLanes;
  for (size_t c = 0; c < whole; c += kRun) {
    const size_t cols = std::min(kRun, whole - c);
    for (size_t j = 0; j < cols; ++j) {
      scales[j] = per_column[c + j].scale;
      zeros[j] = static_cast<float>(per_column[c + j].zero_point);
    }
    if (is_signed)
      encode_run(x + c, stride, n_rows, cols, scales, zeros, reinterpret_cast<int8_t*>(codes + c),
                 codes_stride);
    else
      encode_run(x + c, stride, n_rows, cols, scales, zeros, reinterpret_cast<uint8_t*>(codes + c),
                 codes_stride);
  }
  return whole;
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
namespace {

HWY_EXPORT(min_max_columns);
HWY_EXPORT(encode_columns);

}  // namespace

void column_min_max(const float* x, size_t stride, size_t n_rows, size_t n_cols, float* lo,
                    float* hi) {
  const size_t done = HWY_DYNAMIC_DISPATCH(min_max_columns)(x, stride, n_rows, n_cols, lo, hi);
  column_min_max_ref(x + done, stride, n_rows, n_cols - done, lo + done, hi + done);
}

void int8_encode(const float* x, size_t stride, size_t n_rows, size_t n_cols,
                 const Int8Params* per_column, bool is_signed, std::byte* codes,
                 size_t codes_stride) {
  const size_t done = HWY_DYNAMIC_DISPATCH(encode_columns)(x, stride, n_rows, n_cols, per_column,
                                                           is_signed, codes, codes_stride);
  int8_encode_ref(x + done, stride, n_rows, n_cols - done, per_column + done, is_signed,
                  codes + done, codes_stride);
}

}  // namespace phiquant::quant
#endif  // HWY_ONCE
