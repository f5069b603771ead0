// A checkpoint to a folder for ONNX Runtime GenAI: graph, weights, genai_config.json, tokenizer
// files.
#pragma once

#include "format/onnx_format.h"
#include "phiquant/convert.h"
#include "phiquant/model.h"
#include "phiquant/plan.h"

namespace phiquant {

// Errors: usage (illegal pairs of options, target and precision; the output is one file),
// unsupported (a block that the graph writer cannot make).
Result<Plan> plan_genai(const Checkpoint& checkpoint, const QuantizeOptions& options,
                        const OnnxPlanExtras& extras = {});

}  // namespace phiquant
