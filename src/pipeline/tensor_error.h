// Error sums to the figures of a report.
#pragma once

#include "phiquant/phiquant.h"
#include "quant/kernels.h"

namespace phiquant {

// SQNR in dB (+inf where nothing differs), cosine in [-1, 1] (1 for two zero tensors), largest
// difference.
TensorError tensor_error(const quant::ErrorSums& sums, const quant::CastStats& casts = {});

}  // namespace phiquant
