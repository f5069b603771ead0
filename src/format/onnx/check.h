// The onnx library's own checks on a model without its tensor bytes.
#pragma once

#include <onnx/onnx_pb.h>

#include "phiquant/error.h"

namespace phiquant {

// Checker and strict type and shape inference. Markers of removed payloads and external tensors
// count as tensors of their declared type; operators of custom domains that onnx does not know are
// skipped. About 20 ms at the first call. Errors: corrupt, with the onnx library's message.
Result<void> check_onnx(const onnx::ModelProto& model);

// Makes the operators known that ONNX Runtime's exporters put into the standard domain
// (SimplifiedLayerNormalization, ...) and com.microsoft's that this program writes. Idempotent.
void register_runtime_schemas();

}  // namespace phiquant
