#include "pipeline/tensor_error.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace phiquant {

TensorError tensor_error(const quant::ErrorSums& sums, const quant::CastStats& casts) {
  TensorError e;
  e.sqnr_db = sums.noise == 0 ? std::numeric_limits<double>::infinity()
                              : 10 * std::log10(sums.signal / sums.noise);
  const double norm = std::sqrt(sums.signal) * std::sqrt(sums.approx);
  e.cosine = norm > 0 ? std::min(1.0, sums.dot / norm) : (sums.signal == sums.approx ? 1.0 : 0.0);
  e.max_abs = sums.max_abs;
  e.overflowed = casts.overflowed;
  e.underflowed = casts.underflowed;
  e.nan = casts.nan;
  return e;
}

}  // namespace phiquant
