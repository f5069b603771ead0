// ONNX to ONNX: rewrites a graph for a precision and lays the result out. Reads structure only.
#pragma once

#include "decide/evidence.h"
#include "format/draft.h"
#include "phiquant/options.h"
#include "wire/onnx_payload.h"

namespace phiquant {

// Takes the model apart: nodes are rewritten, jobs created, sizes and offsets fixed, protobuf
// serialized. Errors: unsupported (nothing to quantize, opset), usage (illegal option pair).
Result<Draft> draft_onnx(OnnxModel model, const Request& request, const Evidence& evidence);

}  // namespace phiquant
