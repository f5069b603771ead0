// A linear with a LoRA adapter merged, computed as it is read.
#pragma once

#include <memory>

#include "core/tensor.h"
#include "phiquant/error.h"

namespace phiquant {

// W + scale * B A as float32 [out, in]; W [out, in], A [rank, in], B [out, rank] are float32,
// float16 or bfloat16. Value of an element: acc = 0; acc += B[o, j] * A[j, i] for j = 0, 1, ...;
// W[o, i] + scale * acc, every step in float32, so that bytes do not depend on how they are read.
// Memory of a read: kLoraRows rows of W and B, one row of A. Source: LoRA (arXiv 2106.09685),
// section 4.1; scale = alpha / r.
constexpr uint64_t kLoraRows = 64;
SourceTensor merge_lora(const SourceTensor& base, const SourceTensor& a, const SourceTensor& b,
                        float scale);

}  // namespace phiquant
