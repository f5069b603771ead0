// The scalar specification of the error sums of kernels.h.
#include <algorithm>
#include <cmath>

#include "quant/numeric/error_partials.h"

namespace phiquant::quant {
namespace {

// One column over a run of rows, in T.
template <class T>
struct ColumnSums {
  T signal = 0, noise = 0, dot = 0, approx = 0, max_abs = 0;
  uint64_t n = 0;

  void add(T x, T y) {
    const T e = x - y;
    signal += x * x;
    noise += e * e;
    dot += x * y;
    approx += y * y;
    max_abs = std::max(max_abs, std::abs(e));
    ++n;
  }
};

void flush(const ColumnSums<float>& s, size_t column, ErrorPartials& p) {
  const size_t i = column % kErrorPartials;
  p.signal[i] += static_cast<double>(s.signal);
  p.noise[i] += static_cast<double>(s.noise);
  p.dot[i] += static_cast<double>(s.dot);
  p.approx[i] += static_cast<double>(s.approx);
  p.max_abs[i] = std::max(p.max_abs[i], s.max_abs);
}

// The codes of one column of a run, as floats.
void decode_column(const CodeTile& tile, const BlockView& view, size_t n_rows, size_t c,
                   float* out) {
  const BlockView column{view.codes + (tile.packing == Packing::nbits ? c * view.codes_stride : c),
                         view.codes_stride, view.scales + c,
                         view.zero_points ? view.zero_points + c : nullptr};
  decode_block_ref(tile.packing, tile.bits, tile.is_signed, column, n_rows, 1, out, 1);
}

// Calls column(c, first row, rows) for the runs of rows in order, and in each for the columns.
template <class Column>
void for_columns(size_t n_rows, size_t n_cols, const Column& column) {
  for (size_t r = 0; r < n_rows; r += kErrorRows)
    for (size_t c = 0; c < n_cols; ++c) column(c, r, std::min(kErrorRows, n_rows - r));
}

// Pairs of a column in double, without those that are not finite, to partial c % kErrorPartials.
void add_doubles(const float* x, size_t x_stride, const float* y, size_t y_stride, size_t n_rows,
                 ErrorSums& partial) {
  ColumnSums<double> s;
  for (size_t r = 0; r < n_rows; ++r) {
    const double a = static_cast<double>(x[r * x_stride]), b = static_cast<double>(y[r * y_stride]);
    if (std::isfinite(a) && std::isfinite(b)) s.add(a, b);
  }
  partial.add({s.signal, s.noise, s.dot, s.approx, s.max_abs, s.n});
}

void add_all(const ErrorSums (&partials)[kErrorPartials], ErrorSums& sums) {
  ErrorSums total;
  for (const ErrorSums& p : partials) total.add(p);
  sums.add(total);
}

}  // namespace

void ErrorSums::add(const ErrorSums& o) {
  signal += o.signal;
  noise += o.noise;
  dot += o.dot;
  approx += o.approx;
  max_abs = std::max(max_abs, o.max_abs);
  n += o.n;
}

void add_columns_ref(const float* x, const float* y, size_t stride, size_t n_rows, size_t first,
                     size_t n_cols, ErrorPartials& partials) {
  for (size_t c = first; c < n_cols; ++c) {
    ColumnSums<float> s;
    for (size_t r = 0; r < n_rows; ++r) s.add(x[r * stride + c], y[r * stride + c]);
    flush(s, c, partials);
  }
}

void add_codes_ref(const CodeTile& tile, const BlockView& view, const float* x, size_t stride,
                   size_t n_rows, size_t first, size_t n_cols, ErrorPartials& partials) {
  for (size_t c = first; c < n_cols; ++c) {
    float y[kErrorRows];
    decode_column(tile, view, n_rows, c, y);
    ColumnSums<float> s;
    for (size_t r = 0; r < n_rows; ++r) s.add(x[r * stride + c], y[r]);
    flush(s, c, partials);
  }
}

bool add_total(const ErrorPartials& partials, size_t n, ErrorSums& sums) {
  ErrorSums total;
  for (size_t i = 0; i < kErrorPartials; ++i)
    total.add({partials.signal[i], partials.noise[i], partials.dot[i], partials.approx[i],
               static_cast<double>(partials.max_abs[i]), 0});
  total.n = n;
  // A square that underflows loses less than 2^-149, a tile of 2^30 values less than a billionth of
  // this. What overflows, and a NaN or infinity on either side, makes a sum that is not finite.
  constexpr double kSmallest = 0x1p-89;
  const bool held = std::isfinite(total.signal) && std::isfinite(total.noise) &&
                    std::isfinite(total.dot) && std::isfinite(total.approx) &&
                    total.signal >= kSmallest && total.approx >= kSmallest &&
                    (total.noise >= kSmallest || total.max_abs == 0);
  if (held) sums.add(total);
  return held;
}

void error_sums_double_ref(const float* x, const float* y, size_t stride, size_t n_rows,
                           size_t n_cols, ErrorSums& sums) {
  ErrorSums partials[kErrorPartials];
  for_columns(n_rows, n_cols, [&](size_t c, size_t first, size_t rows) {
    add_doubles(x + first * stride + c, stride, y + first * stride + c, stride, rows,
                partials[c % kErrorPartials]);
  });
  add_all(partials, sums);
}

void block_error_sums_double_ref(const CodeTile& tile, const BlockView& view, const float* x,
                                 size_t stride, size_t n_rows, size_t n_cols, ErrorSums& sums) {
  ErrorSums partials[kErrorPartials];
  for_columns(n_rows, n_cols, [&](size_t c, size_t first, size_t rows) {
    float y[kErrorRows];
    decode_column(tile, rows_from(tile, view, first), rows, c, y);
    add_doubles(x + first * stride + c, stride, y, 1, rows, partials[c % kErrorPartials]);
  });
  add_all(partials, sums);
}

void error_sums_ref(const float* x, const float* y, size_t stride, size_t n_rows, size_t n_cols,
                    ErrorSums& sums) {
  ErrorPartials partials;
  for (size_t r = 0; r < n_rows; r += kErrorRows)
    add_columns_ref(x + r * stride, y + r * stride, stride, std::min(kErrorRows, n_rows - r), 0,
                    n_cols, partials);
  if (!add_total(partials, n_rows * n_cols, sums))
    error_sums_double_ref(x, y, stride, n_rows, n_cols, sums);
}

void block_error_sums_ref(Packing packing, unsigned bits, bool is_signed, const BlockView& view,
                          const float* x, size_t stride, size_t n_rows, size_t n_cols,
                          ErrorSums& sums) {
  const CodeTile tile{packing, bits, is_signed};
  ErrorPartials partials;
  for (size_t r = 0; r < n_rows; r += kErrorRows)
    add_codes_ref(tile, rows_from(tile, view, r), x + r * stride, stride,
                  std::min(kErrorRows, n_rows - r), 0, n_cols, partials);
  if (!add_total(partials, n_rows * n_cols, sums))
    block_error_sums_double_ref(tile, view, x, stride, n_rows, n_cols, sums);
}

}  // namespace phiquant::quant
