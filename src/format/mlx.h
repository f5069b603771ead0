// A checkpoint to a folder for mlx_lm, MLX Swift and other users of MLX: safetensors, config.json,
// tokenizer files.
#pragma once

#include "format/onnx_format.h"
#include "phiquant/convert.h"
#include "phiquant/model.h"
#include "phiquant/plan.h"

namespace phiquant {

// As mlx_lm.convert 0.32.2 writes it. Errors: usage (options that have no meaning here),
// unsupported (a decoder that mlx_lm's classes cannot compute).
Result<Plan> plan_mlx(const Checkpoint& checkpoint, const QuantizeOptions& options,
                      const OnnxPlanExtras& extras = {});

}  // namespace phiquant
