// Quantization schemes: a numeric rule together with the arrangement of its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/tensor.h"

namespace phiquant {

// How the codes of a block lie in plane 0. K is the reduction dimension (blocks run along it), N
// the other.
enum class Packing : uint8_t {
  nbits,    // MatMulNBits: uint8 [N, ceil(K/block), block*bits/8], low bits first; the tail of the
            // last block is 0, or the code of the value 0 where the original rule pads with zeros
            // (rtn, k_quant, hqq)
  k_major,  // QDQ of a MatMul weight: [K, N] flat, int4/uint4 low nibble first
  n_major,  // GatherBlockQuantized, QDQ of [N, K]: [N, K] flat, low bits first
};

struct SchemeParams {
  unsigned bits = 4;         // 2, 4 or 8
  uint32_t block_size = 32;  // values along K that share a scale
  bool symmetric = true;
  DType weight_dtype =
      DType::f32;  // dtype of the stored weight: the rules round scales (f16) as that dtype
  unsigned iterations = 0;  // steps of an iterative scheme (hqq); 0: the scheme's default
};

// One block (n_rows <= block_size values along K) of n_cols columns, as floats:
// value k of column c is x[k * stride + c]. The last block of a column may be short.
struct BlockTile {
  const float* x = nullptr;
  size_t stride = 0;  // floats between two k
  size_t n_rows = 0;
  size_t n_cols = 0;
};

// Where the encoder puts a block of columns. Codes arrive packed for Packing::nbits: column c owns
// codes[c * codes_stride .. + block_size * bits / 8), all of it written. For k_major and n_major
// the encoder writes one byte a value: codes[k * codes_stride + c], two's complement sign-extended;
// the caller masks and packs.
struct BlockCodes {
  std::byte* codes = nullptr;
  size_t codes_stride = 0;
  float* scales = nullptr;  // [n_cols], the value to be stored before (or after, idempotent)
                            // rounding to its dtype
  float* zero_points =
      nullptr;  // [n_cols], integers except for schemes with float_zero_points; may be null if none
};

// The reverse: packed codes of one block of columns to floats (same addressing as above).
struct BlockView {
  const std::byte* codes = nullptr;
  size_t codes_stride = 0;
  const float* scales = nullptr;  // [n_cols], as stored, widened to float
  const float* zero_points =
      nullptr;  // [n_cols]; null: the default (2^(bits-1) unsigned, 0 signed)
};

using BlockEncode = void (*)(const BlockTile&, const SchemeParams&, const BlockCodes&);

// A block scheme: rule + packing. Pure kernels: no allocation, no failure; input finite (the caller
// checked).
struct Scheme {
  std::string_view name;     // as --scheme takes it
  std::string_view summary;  // one line for `phiquant list`
  Packing packing;
  std::string_view method;  // how scales and codes are found: a name of methods() (encoding.h)
  unsigned bits_mask;       // which of 2, 4, 8 bits it offers: sum of (1 << bits)
  bool symmetric;           // can be symmetric
  bool asymmetric;          // can be asymmetric
  bool float_zero_points;   // zero points are floats in the scale's dtype (HQQ)
  BlockEncode encode_ref;   // the specification
  BlockEncode encode;       // the same bytes, fast
  // Iterative schemes whose stopping rule looks at the whole weight (hqq); null otherwise. A first
  // pass adds the error after each step to sums[0 .. max_steps), a second one encodes with
  // SchemeParams::iterations = steps_taken(...).
  void (*step_errors)(const BlockTile&, const SchemeParams&, double* sums) = nullptr;
  unsigned (*steps_taken)(const double* sums, unsigned steps, double n_values) = nullptr;
  unsigned max_steps = 0;
};

// The table, in the order of `phiquant list`.
std::span<const Scheme> block_schemes();
// nullptr where no scheme has that name.
const Scheme* find_block_scheme(std::string_view name);

// Whether the encoder's codes are two's complement (a stored type int4 or int8) rather than
// unsigned: qdq when symmetric, gather when symmetric with 4 bits (GatherBlockQuantized has no int8
// form: its 8-bit codes are uint8 with the zero point 128 that the operator assumes when none is
// given).
constexpr bool has_signed_codes(const Scheme& scheme, const SchemeParams& params) {
  return params.symmetric && (scheme.packing == Packing::k_major ||
                              (scheme.packing == Packing::n_major && params.bits == 4));
}

}  // namespace phiquant
