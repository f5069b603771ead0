// What quantization cost: sums over pairs of tiles. See kernels_ref.cc for the rule.
#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/numeric/error_sums.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/kernels.h"
#include "quant/numeric/error_partials.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

size_t add_floats(const float*, const float*, size_t, size_t, size_t, ErrorPartials&) { return 0; }
size_t add_float_runs(const float*, const float*, size_t, size_t, ErrorPartials&) { return 0; }
size_t add_codes(const CodeTile&, const BlockView&, const float*, size_t, size_t, size_t,
                 ErrorPartials&) {
  return 0;
}

#else

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kErrorPartials>;
using DD = hn::CappedTag<double, kErrorPartials>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
constexpr DF kFloats;
constexpr DI kInts;
constexpr size_t kLanes = hn::MaxLanes(DF());

// The float sums of kLanes neighbouring columns over a run of rows.
struct Sums {
  VF signal, noise, dot, approx, max_abs;

  HWY_INLINE void add(VF x, VF y) {
    const VF e = hn::Sub(x, y);
    signal = hn::Add(signal, hn::Mul(x, x));
    noise = hn::Add(noise, hn::Mul(e, e));
    dot = hn::Add(dot, hn::Mul(x, y));
    approx = hn::Add(approx, hn::Mul(y, y));
    max_abs = hn::Max(max_abs, hn::Abs(e));
  }
};

HWY_INLINE Sums no_sums() {
  const VF zero = hn::Zero(kFloats);
  return {zero, zero, zero, zero, zero};
}

HWY_INLINE void widen_and_add(VF v, double* to) {
  const DD dd;
  const hn::Rebind<float, DD> df;
  constexpr size_t kDoubles = hn::MaxLanes(DD());
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, kFloats, lanes);
  for (size_t i = 0; i < kLanes; i += kDoubles)
    hn::Store(hn::Add(hn::Load(dd, to + i), hn::PromoteTo(dd, hn::Load(df, lanes + i))), dd,
              to + i);
}

// `column`: of the first lane.
HWY_INLINE void flush(const Sums& s, size_t column, ErrorPartials& p) {
  const size_t first = column % kErrorPartials;
  widen_and_add(s.signal, p.signal + first);
  widen_and_add(s.noise, p.noise + first);
  widen_and_add(s.dot, p.dot + first);
  widen_and_add(s.approx, p.approx + first);
  hn::Store(hn::Max(s.max_abs, hn::Load(kFloats, p.max_abs + first)), kFloats, p.max_abs + first);
}

// All add whole vectors of columns of one run of rows, and return how many columns that were.
size_t add_floats(const float* x, const float* y, size_t stride, size_t n_rows, size_t n_cols,
                  ErrorPartials& partials) {
  const size_t whole = n_cols - n_cols % kLanes;
  for (size_t c = 0; c < whole; c += kLanes) {
    Sums s = no_sums();
    for (size_t r = 0; r < n_rows; ++r)
      s.add(hn::LoadU(kFloats, x + r * stride + c), hn::LoadU(kFloats, y + r * stride + c));
    flush(s, c, partials);
  }
  return whole;
}

// Two runs of kErrorPartials columns at a time, so that one's additions need not wait for each
// other; a partial sum still gets its runs in order. Returns how many rows that were.
size_t add_float_runs(const float* x, const float* y, size_t stride, size_t n_rows,
                      ErrorPartials& partials) {
  const size_t whole = n_rows - n_rows % (2 * kErrorRows), next = kErrorRows * stride;
  for (size_t first = 0; first < whole; first += 2 * kErrorRows)
    for (size_t c = 0; c < kErrorPartials; c += kLanes) {
      const float *a = x + first * stride + c, *b = y + first * stride + c;
      Sums s = no_sums(), t = no_sums();
      for (size_t r = 0; r < kErrorRows; ++r, a += stride, b += stride) {
        s.add(hn::LoadU(kFloats, a), hn::LoadU(kFloats, b));
        t.add(hn::LoadU(kFloats, a + next), hn::LoadU(kFloats, b + next));
      }
      flush(s, c, partials);
      flush(t, c, partials);
    }
  return whole;
}

// A column's scale and offset, for kLanes columns.
struct Parameters {
  VF zero, scale;

  HWY_INLINE Parameters(const BlockView& view, size_t c, float default_zero)
      : zero(view.zero_points ? hn::LoadU(kFloats, view.zero_points + c)
                              : hn::Set(kFloats, default_zero)),
        scale(hn::LoadU(kFloats, view.scales + c)) {}
  HWY_INLINE VF value(VI code) const {
    return hn::Mul(hn::Sub(hn::ConvertTo(kFloats, code), zero), scale);
  }
};

template <class T>
size_t add_bytes(const BlockView& view, float default_zero, const float* x, size_t stride,
                 size_t n_rows, size_t n_cols, ErrorPartials& partials) {
  const hn::Rebind<T, DF> narrow;
  const size_t whole = n_cols - n_cols % kLanes;
  for (size_t c = 0; c < whole; c += kLanes) {
    const Parameters parameters(view, c, default_zero);
    Sums s = no_sums();
    for (size_t r = 0; r < n_rows; ++r) {
      const T* codes = reinterpret_cast<const T*>(view.codes + r * view.codes_stride + c);
      s.add(hn::LoadU(kFloats, x + r * stride + c),
            parameters.value(hn::PromoteTo(kInts, hn::LoadU(narrow, codes))));
    }
    flush(s, c, partials);
  }
  return whole;
}

// 16 bytes of every fourth column from `codes` on, one column a 128-bit block.
HWY_INLINE VI gather_blocks(const std::byte* codes, size_t stride) {
  const hn::CappedTag<int32_t, 4> d4;
  const auto block = [&](size_t column) HWY_ATTR {
    return hn::LoadU(d4, reinterpret_cast<const int32_t*>(codes + column * stride));
  };
#if HWY_TARGET <= HWY_AVX3
  const hn::Half<DI> half;
  return hn::Combine(kInts, hn::Combine(half, block(12), block(8)),
                     hn::Combine(half, block(4), block(0)));
#elif HWY_TARGET <= HWY_AVX2
  return hn::Combine(kInts, block(4), block(0));
#else
  return block(0);
#endif
}

// 16 bytes of each of kLanes columns: afterwards vector j holds 32-bit word j of each column.
HWY_INLINE void load_words(const std::byte* codes, size_t stride, VI (&w)[4]) {
  const hn::RepartitionToWide<DI> pairs;
  VI v[4];
  for (size_t i = 0; i < 4; ++i) v[i] = gather_blocks(codes + i * stride, stride);
  const auto even_low = hn::BitCast(pairs, hn::InterleaveLower(kInts, v[0], v[1]));
  const auto odd_low = hn::BitCast(pairs, hn::InterleaveLower(kInts, v[2], v[3]));
  const auto even_high = hn::BitCast(pairs, hn::InterleaveUpper(kInts, v[0], v[1]));
  const auto odd_high = hn::BitCast(pairs, hn::InterleaveUpper(kInts, v[2], v[3]));
  w[0] = hn::BitCast(kInts, hn::InterleaveLower(pairs, even_low, odd_low));
  w[1] = hn::BitCast(kInts, hn::InterleaveUpper(pairs, even_low, odd_low));
  w[2] = hn::BitCast(kInts, hn::InterleaveLower(pairs, even_high, odd_high));
  w[3] = hn::BitCast(kInts, hn::InterleaveUpper(pairs, even_high, odd_high));
}

// The same for fewer than 16 bytes, the rest 0.
HWY_NOINLINE void load_part(const std::byte* codes, size_t stride, size_t n_bytes, VI (&w)[4]) {
  alignas(64) std::byte whole[kLanes * 16] = {};
  for (size_t c = 0; c < kLanes; ++c) std::memcpy(whole + c * 16, codes + c * stride, n_bytes);
  load_words(whole, 16, w);
}

// Packed codes, low bits first; the run starts on a byte.
template <unsigned kBits>
size_t add_packed(const BlockView& view, float default_zero, const float* x, size_t stride,
                  size_t n_rows, size_t n_cols, ErrorPartials& partials) {
  constexpr size_t kPerWord = 32 / kBits, kRows = 4 * kPerWord;  // of 16 bytes
  const VI mask = hn::Set(kInts, static_cast<int32_t>((1u << kBits) - 1));
  const size_t whole = n_cols - n_cols % kLanes;
  for (size_t c = 0; c < whole; c += kLanes) {
    const Parameters parameters(view, c, default_zero);
    const std::byte* codes = view.codes + c * view.codes_stride;
    Sums s = no_sums();
    for (size_t k = 0; k < n_rows; k += kRows) {
      const size_t rows = std::min(kRows, n_rows - k);
      VI words[4];
      if (rows == kRows)
        load_words(codes + k * kBits / 8, view.codes_stride, words);
      else
        load_part(codes + k * kBits / 8, view.codes_stride, (rows * kBits + 7) / 8, words);
      for (size_t j = 0; j * kPerWord < rows; ++j) {
        const float* at = x + (k + j * kPerWord) * stride + c;
        const size_t n = std::min(kPerWord, rows - j * kPerWord);
        VI word = words[j];
        if (n == kPerWord) {
          for (size_t i = 0; i < kPerWord; ++i, word = hn::ShiftRight<kBits>(word))
            s.add(hn::LoadU(kFloats, at + i * stride), parameters.value(hn::And(word, mask)));
        } else {
          for (size_t i = 0; i < n; ++i, word = hn::ShiftRight<kBits>(word))
            s.add(hn::LoadU(kFloats, at + i * stride), parameters.value(hn::And(word, mask)));
        }
      }
    }
    flush(s, c, partials);
  }
  return whole;
}

size_t add_codes(const CodeTile& tile, const BlockView& view, const float* x, size_t stride,
                 size_t n_rows, size_t n_cols, ErrorPartials& partials) {
  const float zero = default_zero_point(tile);
  if (tile.packing != Packing::nbits)
    return tile.is_signed ? add_bytes<int8_t>(view, zero, x, stride, n_rows, n_cols, partials)
                          : add_bytes<uint8_t>(view, zero, x, stride, n_rows, n_cols, partials);
  if (tile.is_signed) return 0;
  switch (tile.bits) {
    case 2:
      return add_packed<2>(view, zero, x, stride, n_rows, n_cols, partials);
    case 4:
      return add_packed<4>(view, zero, x, stride, n_rows, n_cols, partials);
    default:
      return add_packed<8>(view, zero, x, stride, n_rows, n_cols, partials);
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
namespace {

HWY_EXPORT(add_floats);
HWY_EXPORT(add_float_runs);
HWY_EXPORT(add_codes);

}  // namespace

void error_sums(const float* x, const float* y, size_t stride, size_t n_rows, size_t n_cols,
                ErrorSums& sums) {
  ErrorPartials partials;
  size_t r = 0;
  if (n_cols == kErrorPartials)
    r = HWY_DYNAMIC_DISPATCH(add_float_runs)(x, y, stride, n_rows, partials);
  for (; r < n_rows; r += kErrorRows) {
    const size_t rows = std::min(kErrorRows, n_rows - r);
    const float *a = x + r * stride, *b = y + r * stride;
    const size_t done = HWY_DYNAMIC_DISPATCH(add_floats)(a, b, stride, rows, n_cols, partials);
    add_columns_ref(a, b, stride, rows, done, n_cols, partials);
  }
  if (!add_total(partials, n_rows * n_cols, sums))
    error_sums_double_ref(x, y, stride, n_rows, n_cols, sums);
}

void block_error_sums(Packing packing, unsigned bits, bool is_signed, const BlockView& view,
                      const float* x, size_t stride, size_t n_rows, size_t n_cols,
                      ErrorSums& sums) {
  const CodeTile tile{packing, bits, is_signed};
  ErrorPartials partials;
  for (size_t r = 0; r < n_rows; r += kErrorRows) {
    const size_t rows = std::min(kErrorRows, n_rows - r);
    const BlockView run = rows_from(tile, view, r);
    const size_t done =
        HWY_DYNAMIC_DISPATCH(add_codes)(tile, run, x + r * stride, stride, rows, n_cols, partials);
    add_codes_ref(tile, run, x + r * stride, stride, rows, done, n_cols, partials);
  }
  if (!add_total(partials, n_rows * n_cols, sums))
    block_error_sums_double_ref(tile, view, x, stride, n_rows, n_cols, sums);
}

}  // namespace phiquant::quant
#endif  // HWY_ONCE
