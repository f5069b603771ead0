// What the weights of an ONNX graph become: the rule of plain ONNX and ONNX Runtime GenAI.
#pragma once

#include <cstdint>
#include <string>

#include "decide/capability.h"
#include "decide/integer_settings.h"
#include "model/checkpoint.h"

namespace phiquant {

// What the graph and its provider can hold, beside what every one can.
struct OnnxLimits {
  std::string_view provider;     // for reasons: "qnn"
  bool eight_bits = true;        // codes of 8 bits
  bool shares_embedding = true;  // a tied embedding can read what the lm_head is made of
  int64_t opset = 21;  // the newest that the graph can have: per-channel DequantizeLinear needs 13
};

// The rule of a graph. `recipe` and `settings` outlive the capability, `decoder` too; it is null
// where the graph came from elsewhere. Float precisions have `settings` null: every weight is a
// float.
Capability onnx_capability(const Recipe& recipe, const IntegerSettings* settings,
                           const Decoder* decoder, const OnnxLimits& limits);

}  // namespace phiquant
