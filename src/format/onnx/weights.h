// A model's weights as compare and inspect see them.
#pragma once

#include <vector>

#include "model/weights.h"
#include "wire/onnx_payload.h"

namespace phiquant {

// The weights of a model as float-readable sources, for compare and inspect: quantized ones and
// experts too, and vectors (norms, biases). Keys are left empty.
std::vector<NamedWeight> onnx_weights(const OnnxModel& model);

}  // namespace phiquant
