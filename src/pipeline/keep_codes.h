// Weights whose codes have the grid of the output's blocks already keep them.
#pragma once

#include "format/plan.h"

namespace phiquant {

// GGUF's q4_0 and q8_0 are blocks of 32 with an f16 scale and a fixed zero point: what MatMulNBits
// has with block size 32, symmetric, 4 and 8 bits. Jobs that would decode such a weight only to
// encode it again become copies of codes (in the operator's order) and scales; the rows of the
// report say so, and so do those of weights that are encoded anew.
void keep_stored_codes(Plan& plan);

}  // namespace phiquant
