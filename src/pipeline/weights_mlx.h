// An MLX folder as weights: its row in the table of readers.
#pragma once

#include "pipeline/weights.h"

namespace phiquant {

// Whether the folder is a checkpoint whose config.json has MLX's `quantization`. Folders of floats
// are checkpoints like any other.
bool looks_like_mlx(const std::filesystem::path& path);

// A checkpoint's weights, with the mode in which each is stored. Errors: those of open_checkpoint.
Result<ModelWeights> open_mlx_weights(const std::filesystem::path& path,
                                      const WeightsOptions& options);

}  // namespace phiquant
