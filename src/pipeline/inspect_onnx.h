// The part of inspect that is about ONNX graphs.
#pragma once

#include "phiquant/report.h"
#include "pipeline/inspect_use.h"
#include "wire/onnx_payload.h"

namespace phiquant {

// All but the format's name.
InspectReport inspect_onnx(const OnnxModel& model);

}  // namespace phiquant
