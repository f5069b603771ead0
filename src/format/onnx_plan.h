// The steps of plan_onnx that other graphs share.
#pragma once

#include "format/onnx_edit.h"

namespace phiquant::format {

// Quantizes the graph's weights as the options ask and adds a row for each. A graph without any is
// unsupported.
// `reopens`: weights that the graph holds quantized already may be decoded first.
Result<void> plan_integers(Editor& editor, bool reopens);

}  // namespace phiquant::format
