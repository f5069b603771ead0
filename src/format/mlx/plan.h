// A checkpoint to a folder for mlx_lm, MLX Swift and other users of MLX: safetensors, config.json,
// tokenizer files.
#pragma once

#include "decide/evidence.h"
#include "format/draft.h"
#include "model/checkpoint.h"
#include "phiquant/options.h"

namespace phiquant {

// As mlx_lm.convert 0.32.2 writes it. Errors: usage (options that have no meaning here),
// unsupported (a decoder that mlx_lm's classes cannot compute).
Result<Draft> draft_mlx(const Checkpoint& checkpoint, const Request& request,
                        const Evidence& evidence);

}  // namespace phiquant
