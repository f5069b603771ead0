// Transposing tiles of floats, and the search for values that are no numbers.
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/numeric/transpose.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

void transpose_tile(const float* in, size_t in_stride, size_t rows, size_t cols, float* out,
                    size_t out_stride) {
  transpose_ref(in, in_stride, rows, cols, out, out_stride);
}
size_t finite_prefix(const float*, size_t) { return 0; }
void copy_rows_past_caches(const std::byte* in, size_t in_stride, size_t row_bytes, size_t rows,
                           std::byte* out, size_t out_stride) {
  for (size_t r = 0; r < rows; ++r)
    std::memcpy(out + r * out_stride, in + r * in_stride, row_bytes);
}

#else

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using D4 = hn::CappedTag<float, 4>;
constexpr DF kFloats;
constexpr size_t kLanes = hn::MaxLanes(DF());

// Four floats of every fourth row from `in` on, one row a 128-bit block.
HWY_INLINE hn::Vec<DF> gather_blocks(const float* in, size_t stride) {
  const D4 d4;
#if HWY_TARGET <= HWY_AVX3
  const hn::Half<DF> half;
  const auto low = hn::Combine(half, hn::LoadU(d4, in + 4 * stride), hn::LoadU(d4, in));
  const auto high =
      hn::Combine(half, hn::LoadU(d4, in + 12 * stride), hn::LoadU(d4, in + 8 * stride));
  return hn::Combine(kFloats, high, low);
#elif HWY_TARGET <= HWY_AVX2
  return hn::Combine(kFloats, hn::LoadU(d4, in + 4 * stride), hn::LoadU(d4, in));
#else
  (void)stride;
  return hn::LoadU(d4, in);
#endif
}

// kLanes rows x 4 columns: afterwards vector j is column j.
HWY_INLINE void store_columns(hn::Vec<DF> r0, hn::Vec<DF> r1, hn::Vec<DF> r2, hn::Vec<DF> r3,
                              float* out, size_t stride) {
  const hn::RepartitionToWide<DF> pairs;
  const auto even_low = hn::BitCast(pairs, hn::InterleaveLower(kFloats, r0, r1));
  const auto odd_low = hn::BitCast(pairs, hn::InterleaveLower(kFloats, r2, r3));
  const auto even_high = hn::BitCast(pairs, hn::InterleaveUpper(kFloats, r0, r1));
  const auto odd_high = hn::BitCast(pairs, hn::InterleaveUpper(kFloats, r2, r3));
  hn::StoreU(hn::BitCast(kFloats, hn::InterleaveLower(pairs, even_low, odd_low)), kFloats, out);
  hn::StoreU(hn::BitCast(kFloats, hn::InterleaveUpper(pairs, even_low, odd_low)), kFloats,
             out + stride);
  hn::StoreU(hn::BitCast(kFloats, hn::InterleaveLower(pairs, even_high, odd_high)), kFloats,
             out + 2 * stride);
  hn::StoreU(hn::BitCast(kFloats, hn::InterleaveUpper(pairs, even_high, odd_high)), kFloats,
             out + 3 * stride);
}

HWY_INLINE void transpose_4_columns(const float* in, size_t in_stride, float* out,
                                    size_t out_stride) {
  store_columns(gather_blocks(in, in_stride), gather_blocks(in + in_stride, in_stride),
                gather_blocks(in + 2 * in_stride, in_stride),
                gather_blocks(in + 3 * in_stride, in_stride), out, out_stride);
}

// 16 columns at once read each row's cache line in one go: with rows a multiple of 4096 bytes
// apart, 16 rows do not stay in the first-level cache together.
HWY_INLINE void transpose_16_columns(const float* in, size_t in_stride, float* out,
                                     size_t out_stride) {
  hn::Vec<DF> v[4][4];
  for (size_t r = 0; r < 4; ++r)
    for (size_t q = 0; q < 4; ++q) v[r][q] = gather_blocks(in + r * in_stride + 4 * q, in_stride);
  for (size_t q = 0; q < 4; ++q)
    store_columns(v[0][q], v[1][q], v[2][q], v[3][q], out + 4 * q * out_stride, out_stride);
}

void transpose_tile(const float* in, size_t in_stride, size_t rows, size_t cols, float* out,
                    size_t out_stride) {
  const size_t whole_cols = cols - cols % 4;
  size_t r = 0;
  for (; r + kLanes <= rows; r += kLanes) {
    size_t c = 0;
    if constexpr (kLanes == 16)
      for (; c + 16 <= cols; c += 16)
        transpose_16_columns(in + r * in_stride + c, in_stride, out + c * out_stride + r,
                             out_stride);
    for (; c < whole_cols; c += 4)
      transpose_4_columns(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
  }
  transpose_ref(in + whole_cols, in_stride, r, cols - whole_cols, out + whole_cols * out_stride,
                out_stride);
  transpose_ref(in + r * in_stride, in_stride, rows - r, cols, out + r, out_stride);
}

// How many leading values are certainly finite; less than a run short of the first that is not, or
// of n.
size_t finite_prefix(const float* x, size_t n) {
  constexpr size_t kRun = 16 * kLanes;
  const hn::RebindToUnsigned<DF> uints;
  const hn::RebindToSigned<DF> ints;
  const auto magnitude = hn::Set(uints, 0x7fffffffu), to_sign = hn::Set(uints, 0x00800000u);
  for (size_t i = 0; i + kRun <= n; i += kRun) {
    auto a = hn::Zero(uints), b = a;
    for (size_t j = 0; j < kRun; j += 2 * kLanes) {
      const auto u = hn::BitCast(uints, hn::LoadU(kFloats, x + i + j));
      const auto v = hn::BitCast(uints, hn::LoadU(kFloats, x + i + j + kLanes));
      // An exponent of all ones carries into the sign bit.
      a = hn::Or(a, hn::Add(hn::And(u, magnitude), to_sign));
      b = hn::Or(b, hn::Add(hn::And(v, magnitude), to_sign));
    }
    if (!hn::AllFalse(ints, hn::Lt(hn::BitCast(ints, hn::Or(a, b)), hn::Zero(ints)))) return i;
  }
  return n - n % kRun;
}

// A store past the caches wants whole cache lines: where rows do not start on one, or do not end
// with one, they are copied as any bytes.
void copy_rows_past_caches(const std::byte* in, size_t in_stride, size_t row_bytes, size_t rows,
                           std::byte* out, size_t out_stride) {
  constexpr size_t kLine = 64;
  const hn::ScalableTag<uint8_t> d;
  constexpr size_t kStep = hn::MaxLanes(d);
  static_assert(kLine % kStep == 0);
  if ((reinterpret_cast<uintptr_t>(out) | out_stride | row_bytes) % kLine != 0) {
    for (size_t r = 0; r < rows; ++r)
      std::memcpy(out + r * out_stride, in + r * in_stride, row_bytes);
    return;
  }
  for (size_t r = 0; r < rows; ++r) {
    const auto* from = reinterpret_cast<const uint8_t*>(in + r * in_stride);
    auto* to = reinterpret_cast<uint8_t*>(out + r * out_stride);
    for (size_t at = 0; at < row_bytes; at += kStep)
      hn::Stream(hn::LoadU(d, from + at), d, to + at);
  }
  hwy::FlushStream();  // whoever gets the bytes next may be another thread, or the disk
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
namespace {

HWY_EXPORT(transpose_tile);
HWY_EXPORT(finite_prefix);
HWY_EXPORT(copy_rows_past_caches);

}  // namespace

void transpose(const float* in, size_t in_stride, size_t rows, size_t cols, float* out,
               size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(transpose_tile)(in, in_stride, rows, cols, out, out_stride);
}

void turn_to_f32(const std::byte* in, size_t in_stride, DType from, size_t n, size_t k,
                 float* scratch, float* out) {
  // Pairs of bf16 are turned over as if they were floats: half the work.
  if (from == DType::bf16 && in_stride % sizeof(float) == 0 && k % 2 == 0 &&
      reinterpret_cast<uintptr_t>(in) % alignof(float) == 0) {
    transpose(reinterpret_cast<const float*>(in), in_stride / sizeof(float), n, k / 2, scratch, n);
    split_bf16_pairs(scratch, k / 2, n, out);
    return;
  }
  const size_t value_bytes = dtype_bits(from) / 8;
  if (from == DType::f32 && in_stride % value_bytes == 0 &&
      reinterpret_cast<uintptr_t>(in) % alignof(float) == 0) {
    transpose(reinterpret_cast<const float*>(in), in_stride / sizeof(float), n, k, out, n);
    return;
  }
  for (size_t r = 0; r < n; ++r) to_f32(in + r * in_stride, from, k, scratch + r * k);
  transpose(scratch, k, n, k, out, n);
}

void copy_rows(const std::byte* in, size_t in_stride, size_t row_bytes, size_t rows, std::byte* out,
               size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(copy_rows_past_caches)(in, in_stride, row_bytes, rows, out, out_stride);
}

size_t first_non_finite(const float* x, size_t n) {
  const size_t finite = HWY_DYNAMIC_DISPATCH(finite_prefix)(x, n);
  return finite + first_non_finite_ref(x + finite, n - finite);
}

}  // namespace phiquant::quant
#endif  // HWY_ONCE
