// Do config, generation_config and the tokenizer's files agree?
#pragma once

#include "model/checkpoint.h"
#include "model/checkpoint/folder.h"
#include "model/checkpoint/hf_config.h"

namespace phiquant {

// Fills tokens, sidecars and warnings of `out`. Errors: corrupt (a file that is not JSON; an id of
// the tokenizer beyond the vocabulary), io, unsupported (links, sizes). A missing tokenizer is a
// warning.
Result<void> read_tokenizer(CheckpointFolder& folder, const ConfigView& config,
                            const ConfigView* generation, Checkpoint& out);

}  // namespace phiquant
