// A float tensor as another float type, cast as it is read.
#pragma once

#include "core/tensor.h"

namespace phiquant {

// The tensor as another float type, rounded half to even as it is read (overflow to infinity);
// itself where it has that type. `tensor` is float32, float16 or bfloat16, `to` too.
SourceTensor cast_source(const SourceTensor& tensor, DType to);

}  // namespace phiquant
