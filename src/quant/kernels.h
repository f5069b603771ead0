// Kernels beside the block schemes' encoders: decode, casts, 8-bit codes, error sums. Each
// has a scalar specification (_ref) and a Highway version that gives the same bytes on every
// SIMD level.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/tensor.h"
#include "quant/numeric/cast_rule.h"
#include "quant/scheme.h"

namespace phiquant::quant {

// ---- Floats of any stored dtype ----
// Widens n values of f32, f16 or bf16 to float. Exact.
void to_f32(const std::byte* in, DType from, size_t n, float* out);
void to_f32_ref(const std::byte* in, DType from, size_t n, float* out);

// Rows of bf16 values that lie in pairs, [rows][n][2], to floats [rows][2][n]: what transposing
// pairs as if they were floats leaves to do.
void split_bf16_pairs(const float* pairs, size_t rows, size_t n, float* out);

struct CastStats {
  uint64_t overflowed = 0;   // finite, but infinite or saturated after the cast
  uint64_t underflowed = 0;  // nonzero, but zero after an ieee cast, or raised by ort_fp16
  uint64_t nan = 0;          // NaN in the input
  uint64_t inf = 0;          // infinity in the input
  void add(const CastStats& o);
};
// n values `from` (f32, f16, bf16, f64) -> `to` (f32, f16, bf16), rounded once, half to even; a NaN
// stays a NaN (quieted). ort_fp16 matters for `to` f16 only. Statistics are added to `stats`.
void cast(const std::byte* in, DType from, size_t n, std::byte* out, DType to, CastRule rule,
          CastStats& stats);
void cast_ref(const std::byte* in, DType from, size_t n, std::byte* out, DType to, CastRule rule,
              CastStats& stats);

// Transposes rows x cols floats: out[c * out_stride + r] = in[r * in_stride + c].
// Strides are in floats. Row strides that are multiples of 4096 bytes cost speed (cache sets), not
// correctness.
void transpose(const float* in, size_t in_stride, size_t rows, size_t cols, float* out,
               size_t out_stride);
void transpose_ref(const float* in, size_t in_stride, size_t rows, size_t cols, float* out,
                   size_t out_stride);

// Widens and transposes n rows of k stored values (f32, f16 or bf16), `in_stride` bytes apart:
// out[i * n + r] is value i of row r. `scratch` has room for n * k floats.
void turn_to_f32(const std::byte* in, size_t in_stride, DType from, size_t n, size_t k,
                 float* scratch, float* out);

// Copies `rows` runs of `row_bytes` bytes, `in_stride` bytes apart, to places `out_stride` bytes
// apart, past the caches where the CPU has such stores: for bytes that are not read again soon.
void copy_rows(const std::byte* in, size_t in_stride, size_t row_bytes, size_t rows, std::byte* out,
               size_t out_stride);

// Index of the first NaN or infinity, or n.
size_t first_non_finite(const float* x, size_t n);
size_t first_non_finite_ref(const float* x, size_t n);

// ---- Decoding blocks ----
// One block of columns to floats: x[k * stride + c], n_rows x n_cols. `is_signed`: two's complement
// codes. nbits: packed per column (codes + c * codes_stride). k_major and n_major: one byte a
// value, already unpacked to codes[k * codes_stride + c] (sign-extended int8 when signed). value =
// (code - zero_point) * scale, in float. Reads only the bytes that hold the n_rows codes.
void decode_block(Packing packing, unsigned bits, bool is_signed, const BlockView& view,
                  size_t n_rows, size_t n_cols, float* x, size_t stride);
void decode_block_ref(Packing packing, unsigned bits, bool is_signed, const BlockView& view,
                      size_t n_rows, size_t n_cols, float* x, size_t stride);

// Flat nibbles/pairs/bytes <-> one byte a value; `first` is the flat index of the first value in
// its byte stream (packing is flat over the whole tensor, so a run may start in the middle of a
// byte).
void pack_flat(const uint8_t* values, size_t n, unsigned bits, std::byte* out);  // starts on a byte
void pack_flat_ref(const uint8_t* values, size_t n, unsigned bits, std::byte* out);
void unpack_flat(const std::byte* in, size_t first, size_t n, unsigned bits, bool is_signed,
                 uint8_t* values);
void unpack_flat_ref(const std::byte* in, size_t first, size_t n, unsigned bits, bool is_signed,
                     uint8_t* values);

// ---- 8-bit codes with a scale and offset per column or tensor (ONNX Runtime quant_utils.py;
// SCHEMES section 3) ---- Running minimum and maximum of each column (NaN not allowed); lo and hi
// start at +inf, -inf.
void column_min_max(const float* x, size_t stride, size_t n_rows, size_t n_cols, float* lo,
                    float* hi);
void column_min_max_ref(const float* x, size_t stride, size_t n_rows, size_t n_cols, float* lo,
                        float* hi);
struct Int8Params {
  float scale;
  int32_t zero_point;
};
// compute_scale_zp of onnxruntime; `weight_dtype` decides the tiny-scale guard and the rounding of
// the scale.
Int8Params int8_from_range(float lo, float hi, bool symmetric, bool is_signed, bool reduce_range,
                           DType weight_dtype);
// clip(half_even(x / scale) + zero_point) to -128..127 or 0..255.
int int8_code(float x, const Int8Params& affine, bool is_signed);
// The codes of a tile; one parameter pair a column.
void int8_encode(const float* x, size_t stride, size_t n_rows, size_t n_cols,
                 const Int8Params* per_column, bool is_signed, std::byte* codes,
                 size_t codes_stride);
void int8_encode_ref(const float* x, size_t stride, size_t n_rows, size_t n_cols,
                     const Int8Params* per_column, bool is_signed, std::byte* codes,
                     size_t codes_stride);

// ---- What it cost ----
// Sums over a tile. Rows go in runs of 32: a column's values of a run are summed in float, rows in
// order, and the column's sum is then added in double to partial sum (column % 16), runs in order
// and columns in order within a run; at the end partial sums 0..15 are added in order: every ISA
// gives the same doubles. 32 roundings leave a relative error below 2^-19 of each sum, less than
// 0.00001 dB. Where squares of the tile overflow or underflow a float, or a value is not finite,
// the column sums of the whole tile are taken in double instead; pairs of which x or y is not
// finite are then left out, also from n (CastStats counts them). The tile's totals are added to
// `sums`.
struct ErrorSums {
  double signal = 0;   // sum x^2
  double noise = 0;    // sum (x - y)^2
  double dot = 0;      // sum x * y
  double approx = 0;   // sum y^2
  double max_abs = 0;  // max |x - y|
  uint64_t n = 0;
  void add(const ErrorSums& o);
};
// Contiguous values are best given as rows of 16 columns.
void error_sums(const float* x, const float* y, size_t stride, size_t n_rows, size_t n_cols,
                ErrorSums& sums);
void error_sums_ref(const float* x, const float* y, size_t stride, size_t n_rows, size_t n_cols,
                    ErrorSums& sums);
// The same with y from decode_block(), which never leaves the registers.
void block_error_sums(Packing packing, unsigned bits, bool is_signed, const BlockView& view,
                      const float* x, size_t stride, size_t n_rows, size_t n_cols, ErrorSums& sums);
void block_error_sums_ref(Packing packing, unsigned bits, bool is_signed, const BlockView& view,
                          const float* x, size_t stride, size_t n_rows, size_t n_cols,
                          ErrorSums& sums);

// ---- SIMD levels ----
// The instruction set in use, by Highway's name in lower case: "avx3", "avx2", "sse4", "ssse3",
// "scalar".
std::string_view active_simd();
// Those that this binary holds and this CPU runs, best first; "scalar" is last.
std::span<const std::string_view> available_simd();
// Makes every kernel of the process use `name` (on the command line: PHIQUANT_SIMD); false, and
// nothing changed, where it is not available. Not while kernels run.
bool force_simd(std::string_view name);

}  // namespace phiquant::quant
