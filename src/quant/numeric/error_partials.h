// The parts of error_sums() and block_error_sums() that their scalar and vector versions share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/kernels.h"

namespace phiquant::quant {

constexpr size_t kErrorPartials = 16;  // column c adds to partial c % 16
constexpr size_t kErrorRows = 32;      // that are summed in float before they count in double

struct ErrorPartials {
  alignas(64) double signal[kErrorPartials] = {};
  alignas(64) double noise[kErrorPartials] = {};
  alignas(64) double dot[kErrorPartials] = {};
  alignas(64) double approx[kErrorPartials] = {};
  alignas(64) float max_abs[kErrorPartials] = {};
};

// What kind of codes a BlockView holds; see decode_block().
struct CodeTile {
  Packing packing;
  unsigned bits;
  bool is_signed;
};

constexpr float default_zero_point(const CodeTile& tile) {
  return tile.is_signed ? 0.0f : static_cast<float>(1u << (tile.bits - 1));
}

// The view from row `first`, a multiple of kErrorRows, on.
inline BlockView rows_from(const CodeTile& tile, const BlockView& view, size_t first) {
  BlockView rest = view;
  rest.codes += tile.packing == Packing::nbits ? first * tile.bits / 8 : first * view.codes_stride;
  return rest;
}

// Columns first .. n_cols - 1 of one run of rows (at most kErrorRows).
void add_columns_ref(const float* x, const float* y, size_t stride, size_t n_rows, size_t first,
                     size_t n_cols, ErrorPartials& partials);
void add_codes_ref(const CodeTile& tile, const BlockView& view, const float* x, size_t stride,
                   size_t n_rows, size_t first, size_t n_cols, ErrorPartials& partials);

// Adds up a tile of n values, and that to `sums`. False, and nothing added, where float was too
// narrow for the tile: then its sums have to be taken in double.
bool add_total(const ErrorPartials& partials, size_t n, ErrorSums& sums);

// The tile again in double, added to `sums`.
void error_sums_double_ref(const float* x, const float* y, size_t stride, size_t n_rows,
                           size_t n_cols, ErrorSums& sums);
void block_error_sums_double_ref(const CodeTile& tile, const BlockView& view, const float* x,
                                 size_t stride, size_t n_rows, size_t n_cols, ErrorSums& sums);

}  // namespace phiquant::quant
