// The scalar specification of kernels.h. Every other version gives these bytes.
#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/half.h"
#include "quant/kernels.h"
#include "quant/numeric/cast_limits.h"
#include "quant/stored_float.h"

namespace phiquant::quant {
namespace {

template <class T>
T load(const std::byte* in) {
  T value;
  std::memcpy(&value, in, sizeof(T));
  return value;
}

template <class T>
void store(std::byte* out, T value) {
  std::memcpy(out, &value, sizeof(T));
}

// Quiets a NaN, as every conversion to another width does.
float quieted(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  return (u & 0x7fffffffu) > kInfBits ? std::bit_cast<float>(u | 0x400000u) : value;
}

// Double to float so that a second rounding to 16 bits is the same as one rounding: an inexact
// result gets an odd last bit (toward zero, then sticky).
float round_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value) || std::isinf(value))
    return nearest;
  uint32_t u = std::bit_cast<uint32_t>(nearest);
  if (std::abs(static_cast<double>(nearest)) > std::abs(value)) --u;  // back toward zero
  return std::bit_cast<float>(u | 1u);
}

void cast_f64(double value, DType to, std::byte* out, const CastLimits& limits, CastStats& stats) {
  if (to == DType::f32) {
    const float narrow = quieted(static_cast<float>(value));
    stats.overflowed += std::isfinite(value) && std::isinf(narrow);
    stats.underflowed += value != 0 && narrow == 0;
    stats.nan += std::isnan(value);
    stats.inf += std::isinf(value);
    store(out, narrow);
    return;
  }
  // Rounding to odd keeps a nonzero value nonzero and a finite one finite.
  store_float(apply_limits(round_to_odd(value), limits, stats), to, out);
}

}  // namespace

void CastStats::add(const CastStats& o) {
  overflowed += o.overflowed;
  underflowed += o.underflowed;
  nan += o.nan;
  inf += o.inf;
}

void to_f32_ref(const std::byte* in, DType from, size_t n, float* out) {
  const size_t size = dtype_bits(from) / 8;
  for (size_t i = 0; i < n; ++i) out[i] = load_float(in + i * size, from);
}

void cast_ref(const std::byte* in, DType from, size_t n, std::byte* out, DType to, CastRule rule,
              CastStats& stats) {
  assert(is_weight_float(to));
  const CastLimits limits = cast_limits(to, rule);
  const size_t in_size = dtype_bits(from) / 8, out_size = dtype_bits(to) / 8;
  for (size_t i = 0; i < n; ++i) {
    if (from == DType::f64) {
      cast_f64(load<double>(in + i * in_size), to, out + i * out_size, limits, stats);
    } else {
      const float value = quieted(load_float(in + i * in_size, from));
      store_float(apply_limits(value, limits, stats), to, out + i * out_size);
    }
  }
}

void transpose_ref(const float* in, size_t in_stride, size_t rows, size_t cols, float* out,
                   size_t out_stride) {
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < cols; ++c) out[c * out_stride + r] = in[r * in_stride + c];
}

size_t first_non_finite_ref(const float* x, size_t n) {
  for (size_t i = 0; i < n; ++i)
    if ((std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu) >= kInfBits) return i;
  return n;
}

void decode_block_ref(Packing packing, unsigned bits, bool is_signed, const BlockView& view,
                      size_t n_rows, size_t n_cols, float* x, size_t stride) {
  const int half = 1 << (bits - 1);
  const float default_zero = is_signed ? 0.0f : static_cast<float>(half);
  for (size_t c = 0; c < n_cols; ++c) {
    const float zero = view.zero_points ? view.zero_points[c] : default_zero;
    for (size_t k = 0; k < n_rows; ++k) {
      int code;
      if (packing == Packing::nbits) {
        const auto byte = static_cast<unsigned>(view.codes[c * view.codes_stride + k * bits / 8]);
        code = static_cast<int>((byte >> (k * bits % 8)) & ((1u << bits) - 1u));
        if (is_signed) code = (code ^ half) - half;
      } else {
        const auto byte = static_cast<uint8_t>(view.codes[k * view.codes_stride + c]);
        code = is_signed ? static_cast<int8_t>(byte) : byte;
      }
      x[k * stride + c] = (static_cast<float>(code) - zero) * view.scales[c];
    }
  }
}

void pack_flat_ref(const uint8_t* values, size_t n, unsigned bits, std::byte* out) {
  const unsigned per_byte = 8 / bits, mask = (1u << bits) - 1u;
  for (size_t i = 0; i < n; i += per_byte) {
    unsigned byte = 0;
    for (unsigned j = 0; j < per_byte && i + j < n; ++j)
      byte |= (values[i + j] & mask) << (j * bits);
    out[i / per_byte] = static_cast<std::byte>(byte);
  }
}

void unpack_flat_ref(const std::byte* in, size_t first, size_t n, unsigned bits, bool is_signed,
                     uint8_t* values) {
  const unsigned per_byte = 8 / bits, mask = (1u << bits) - 1u, half = 1u << (bits - 1);
  for (size_t i = 0; i < n; ++i) {
    const size_t at = first + i;
    const auto shift = static_cast<unsigned>(at % per_byte) * bits;
    unsigned value = (static_cast<unsigned>(in[at / per_byte]) >> shift) & mask;
    if (is_signed) value = (value ^ half) - half;
    values[i] = static_cast<uint8_t>(value);
  }
}

void column_min_max_ref(const float* x, size_t stride, size_t n_rows, size_t n_cols, float* lo,
                        float* hi) {
  for (size_t r = 0; r < n_rows; ++r)
    for (size_t c = 0; c < n_cols; ++c) {
      const float value = x[r * stride + c];
      if (value < lo[c]) lo[c] = value;
      if (value > hi[c]) hi[c] = value;
    }
}

int int8_code(float x, const Int8Params& affine, bool is_signed) {
  const float lowest = is_signed ? -128.0f : 0.0f, highest = is_signed ? 127.0f : 255.0f;
  const float shifted = std::nearbyint(x / affine.scale) + static_cast<float>(affine.zero_point);
  return static_cast<int>(std::min(std::max(shifted, lowest), highest));
}

void int8_encode_ref(const float* x, size_t stride, size_t n_rows, size_t n_cols,
                     const Int8Params* per_column, bool is_signed, std::byte* codes,
                     size_t codes_stride) {
  for (size_t r = 0; r < n_rows; ++r)
    for (size_t c = 0; c < n_cols; ++c)
      codes[r * codes_stride + c] =
          static_cast<std::byte>(int8_code(x[r * stride + c], per_column[c], is_signed));
}

// Both in double with the uncast scale, which is rounded to the weight's dtype only at the end. A
// bfloat16 weight follows the float32 rule (numpy has no bfloat16), rounded to bfloat16.
Int8Params int8_from_range(float lo, float hi, bool symmetric, bool is_signed, bool reduce_range,
                           DType weight_dtype) {
  int code_min = is_signed ? (symmetric ? -127 : -128) : 0, code_max = is_signed ? 127 : 255;
  if (reduce_range) {
    code_min = is_signed ? -64 : 0;
    code_max = is_signed ? 64 : 127;
  }
  double min = std::min(lo, 0.0f), max = std::max(hi, 0.0f);
  if (symmetric) {
    max = std::max(-min, max);
    min = -max;
  }
  const double scale = (max - min) / (code_max - code_min);
  const double smallest_normal = weight_dtype == DType::f16 ? 0x1p-14 : 0x1p-126;
  if (scale < smallest_normal) return {1.0f, 0};
  const double zero = symmetric ? (code_min + code_max) / 2.0 : code_min - min / scale;
  std::byte stored[4];
  CastStats ignored;
  cast_ref(reinterpret_cast<const std::byte*>(&scale), DType::f64, 1, stored, weight_dtype,
           CastRule::ieee, ignored);
  return {load_float(stored, weight_dtype), static_cast<int32_t>(std::nearbyint(zero))};
}

}  // namespace phiquant::quant
