// Weights that the input holds quantized already, and that the request wants otherwise.
#pragma once

#include "decide/capability.h"
#include "decide/integer_settings.h"
#include "format/onnx/edit.h"

namespace phiquant::format {

// Those become floats first, so that they are weights like all others; the rest stays as it is,
// with a row that says why.
void reopen_quantized(Editor& editor, const IntegerSettings& settings,
                      const Capability& capability);

}  // namespace phiquant::format
