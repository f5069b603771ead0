// Checkpoints to plain ONNX models: standard operators, input_ids to logits, without a cache.
#pragma once

#include "decide/evidence.h"
#include "format/draft.h"
#include "model/checkpoint.h"
#include "phiquant/options.h"

namespace phiquant {

// Of any number of tokens, or with OnnxSettings::sequence_length of that many. Errors: usage (what
// a target of fixed shapes cannot run).
Result<Draft> draft_plain_onnx(const Checkpoint& checkpoint, const Request& request,
                               const Evidence& evidence);

}  // namespace phiquant
