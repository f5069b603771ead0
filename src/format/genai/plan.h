// Checkpoints to folders for ONNX Runtime GenAI.
#pragma once

#include "decide/evidence.h"
#include "format/draft.h"
#include "model/checkpoint.h"
#include "phiquant/options.h"

namespace phiquant {

// model.onnx with its data, genai_config.json, the tokenizer's files. Errors: usage (a target that
// has no such folder, an illegal pair of options), unsupported (a block that ONNX Runtime's
// operators cannot compute).
Result<Draft> draft_genai(const Checkpoint& checkpoint, const Request& request,
                          const Evidence& evidence);

}  // namespace phiquant
