// genai_config.json: what ONNX Runtime GenAI must know beside the graph.
#pragma once

#include <string>

#include "format/genai/targets.h"
#include "model/checkpoint.h"
#include "phiquant/error.h"

namespace phiquant::format {

// Keys, order and values as onnxruntime-genai 0.18's model builder writes them. `shares_buffer`:
// past and present keys and values are one buffer, which GroupQueryAttention allows on its own
// provider. Errors: corrupt (config.json or generation_config.json hold values of the wrong type).
Result<std::string> genai_config(const Checkpoint& checkpoint, const TargetInfo& target,
                                 bool shares_buffer);

}  // namespace phiquant::format
