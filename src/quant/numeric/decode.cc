// Blocks of codes to floats, by vectors. See kernels_ref.cc for the rule.
#include <algorithm>
#include <cstring>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/numeric/decode.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

size_t decode_bytes(const BlockView&, bool, float, size_t, size_t, float*, size_t) { return 0; }
size_t decode_nbits(const BlockView&, unsigned, bool, float, size_t, size_t, float*, size_t) {
  return 0;
}

#else

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using VF = hn::Vec<DF>;
using D8 = hn::CappedTag<uint8_t, 16>;
using V8 = hn::Vec<D8>;
constexpr DF kFloats;
constexpr D8 kBytes;
constexpr size_t kLanes = hn::MaxLanes(DF());
constexpr size_t kColumns = 16;  // decoded together

template <class T>
HWY_INLINE VF decode_lanes(const T* codes, VF zero, VF scale) {
  const hn::RebindToSigned<DF> ints;
  const hn::Rebind<T, DF> narrow;
  const VF code = hn::ConvertTo(kFloats, hn::PromoteTo(ints, hn::LoadU(narrow, codes)));
  return hn::Mul(hn::Sub(code, zero), scale);
}

HWY_INLINE VF load_zeros(const BlockView& view, size_t c, float default_zero) {
  return view.zero_points ? hn::LoadU(kFloats, view.zero_points + c)
                          : hn::Set(kFloats, default_zero);
}

template <class T>
void decode_byte_rows(const BlockView& view, float default_zero, size_t n_rows, size_t n_cols,
                      float* x, size_t stride) {
  for (size_t k = 0; k < n_rows; ++k) {
    const T* codes = reinterpret_cast<const T*>(view.codes + k * view.codes_stride);
    for (size_t c = 0; c < n_cols; c += kLanes) {
      const VF zero = load_zeros(view, c, default_zero),
               scale = hn::LoadU(kFloats, view.scales + c);
      hn::StoreU(decode_lanes(codes + c, zero, scale), kFloats, x + k * stride + c);
    }
  }
}

// Both return the number of columns done.
size_t decode_bytes(const BlockView& view, bool is_signed, float default_zero, size_t n_rows,
                    size_t n_cols, float* x, size_t stride) {
  const size_t whole = n_cols - n_cols % kLanes;
  if (is_signed)
    decode_byte_rows<int8_t>(view, default_zero, n_rows, whole, x, stride);
  else
    decode_byte_rows<uint8_t>(view, default_zero, n_rows, whole, x, stride);
  return whole;
}

// 16 x 16 bytes. One round interleaves row i with row i + 8, which rotates the eight bits of a
// byte's position (row, column) by one; four rounds exchange row and column.
HWY_INLINE void transpose_bytes(V8 (&v)[16]) {
  for (int round = 0; round < 4; ++round) {
    V8 w[16];
    for (size_t i = 0; i < 8; ++i) {
      w[2 * i] = hn::InterleaveLower(kBytes, v[i], v[i + 8]);
      w[2 * i + 1] = hn::InterleaveUpper(kBytes, v[i], v[i + 8]);
    }
    for (size_t i = 0; i < 16; ++i) v[i] = w[i];
  }
}

// n <= 16 bytes of each of 16 columns, the rest 0.
HWY_INLINE void load_columns(const std::byte* codes, size_t stride, size_t n, V8 (&v)[16]) {
  if (n == 16) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(codes);
    for (size_t c = 0; c < kColumns; ++c) v[c] = hn::LoadU(kBytes, bytes + c * stride);
    return;
  }
  HWY_ALIGN uint8_t buffer[kColumns * 16] = {};
  for (size_t c = 0; c < kColumns; ++c) {
    if (n == 8)
      std::memcpy(buffer + c * 16, codes + c * stride, 8);  // block 16: a constant size is one move
    else
      std::memcpy(buffer + c * 16, codes + c * stride, n);
    v[c] = hn::Load(kBytes, buffer + c * 16);
  }
}

// The codes of up to 16 bytes a column, one byte a code: rows[k * 16 + column].
template <int kBits>
HWY_INLINE void split_codes(const std::byte* codes, size_t stride, size_t n_bytes, bool is_signed,
                            uint8_t* rows) {
  V8 v[16];
  load_columns(codes, stride, n_bytes, v);
  transpose_bytes(v);
  const V8 mask = hn::Set(kBytes, static_cast<uint8_t>((1 << kBits) - 1));
  const V8 half = hn::Set(kBytes, static_cast<uint8_t>(is_signed ? 1 << (kBits - 1) : 0));
  const auto put = [&](size_t i, size_t part, V8 code) HWY_ATTR {
    if (kBits != 8) code = hn::Sub(hn::Xor(code, half), half);
    hn::Store(code, kBytes, rows + (i * (8 / kBits) + part) * kColumns);
  };
  for (size_t i = 0; i < n_bytes; ++i) {
    if constexpr (kBits == 8) {
      put(i, 0, v[i]);
    } else if constexpr (kBits == 4) {
      put(i, 0, hn::And(v[i], mask));
      put(i, 1, hn::ShiftRight<4>(v[i]));
    } else {
      put(i, 0, hn::And(v[i], mask));
      put(i, 1, hn::And(hn::ShiftRight<2>(v[i]), mask));
      put(i, 2, hn::And(hn::ShiftRight<4>(v[i]), mask));
      put(i, 3, hn::ShiftRight<6>(v[i]));
    }
  }
}

template <int kBits, class T>
void decode_16_columns(const BlockView& view, float default_zero, size_t n_rows, size_t first,
                       float* x, size_t stride) {
  constexpr size_t kRows = 16 * 8 / kBits;  // of 16 bytes
  constexpr size_t kVectors = kColumns / kLanes;
  HWY_ALIGN uint8_t rows[kRows * kColumns];
  VF zeros[kVectors], scales[kVectors];
  for (size_t j = 0; j < kVectors; ++j) {
    zeros[j] = load_zeros(view, first + j * kLanes, default_zero);
    scales[j] = hn::LoadU(kFloats, view.scales + first + j * kLanes);
  }
  const std::byte* codes = view.codes + first * view.codes_stride;
  for (size_t k = 0; k < n_rows; k += kRows) {
    const size_t n = std::min(kRows, n_rows - k);
    split_codes<kBits>(codes + k * kBits / 8, view.codes_stride, (n * kBits + 7) / 8,
                       std::is_signed_v<T>, rows);
    for (size_t r = 0; r < n; ++r)
      for (size_t j = 0; j < kVectors; ++j) {
        const T* at = reinterpret_cast<const T*>(rows + r * kColumns + j * kLanes);
        hn::StoreU(decode_lanes(at, zeros[j], scales[j]), kFloats,
                   x + (k + r) * stride + first + j * kLanes);
      }
  }
}

template <int kBits>
size_t decode_columns(const BlockView& view, bool is_signed, float default_zero, size_t n_rows,
                      size_t n_cols, float* x, size_t stride) {
  size_t c = 0;
  for (; c + kColumns <= n_cols; c += kColumns) {
    if (is_signed)
      decode_16_columns<kBits, int8_t>(view, default_zero, n_rows, c, x, stride);
    else
      decode_16_columns<kBits, uint8_t>(view, default_zero, n_rows, c, x, stride);
  }
  return c;
}

size_t decode_nbits(const BlockView& view, unsigned bits, bool is_signed, float default_zero,
                    size_t n_rows, size_t n_cols, float* x, size_t stride) {
  switch (bits) {
    case 2:
      return decode_columns<2>(view, is_signed, default_zero, n_rows, n_cols, x, stride);
    case 4:
      return decode_columns<4>(view, is_signed, default_zero, n_rows, n_cols, x, stride);
    default:
      return decode_columns<8>(view, is_signed, default_zero, n_rows, n_cols, x, stride);
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
namespace {

HWY_EXPORT(decode_bytes);
HWY_EXPORT(decode_nbits);

}  // namespace

void decode_block(Packing packing, unsigned bits, bool is_signed, const BlockView& view,
                  size_t n_rows, size_t n_cols, float* x, size_t stride) {
  const bool packed = packing == Packing::nbits;
  const float default_zero = is_signed ? 0.0f : static_cast<float>(1u << (bits - 1));
  const size_t done = packed ? HWY_DYNAMIC_DISPATCH(decode_nbits)(
                                   view, bits, is_signed, default_zero, n_rows, n_cols, x, stride)
                             : HWY_DYNAMIC_DISPATCH(decode_bytes)(view, is_signed, default_zero,
                                                                  n_rows, n_cols, x, stride);
  if (done == n_cols) return;
  BlockView rest = view;
  rest.codes += packed ? done * view.codes_stride : done;
  rest.scales += done;
  if (rest.zero_points) rest.zero_points += done;
  decode_block_ref(packing, bits, is_signed, rest, n_rows, n_cols - done, x + done, stride);
}

}  // namespace phiquant::quant
#endif  // HWY_ONCE
