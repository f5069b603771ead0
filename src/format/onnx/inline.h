// Local functions that hide weights or types from the rewrites.
#pragma once

#include "format/onnx/edit.h"

namespace phiquant::format {

// Replaces calls by the function's nodes where the request cannot be met otherwise, and says so in
// the plan's warnings; every other function stays. `to`: the type that the whole graph takes, or
// undefined where weights become integers. Inlined are
// - functions that get a constant as an argument and multiply (or look up, or convolve) by it;
// - for 16-bit floats, functions with operators that stay float32 whose values have no one type:
//   unknown, or not the same in every call.
void inline_functions(Editor& editor, DType to);

}  // namespace phiquant::format
