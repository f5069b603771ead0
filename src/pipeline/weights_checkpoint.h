// A Hugging Face checkpoint as weights: its row in the table of readers.
#pragma once

#include "pipeline/weights.h"

namespace phiquant {

// The text part of a multimodal checkpoint, without adapters. Errors: those of open_checkpoint.
Result<ModelWeights> open_checkpoint_weights(const std::filesystem::path& path,
                                             const WeightsOptions& options);

// A tensor as a weight: a vector lies along N, a matrix is [N, K].
NamedWeight dense_weight(SourceTensor tensor, std::optional<WeightKey> key);

}  // namespace phiquant
