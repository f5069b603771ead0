// Tensors of a GGUF file as floats.
#pragma once

#include "wire/gguf_model.h"

namespace phiquant {

// The tensor as float32, float16 or bfloat16: as stored, or decoded as it is read. `bytes` of the
// result is null for integer types and for quantized ones that have no row scheme.
SourceTensor gguf_floats(const GgufTensor& tensor);

}  // namespace phiquant
