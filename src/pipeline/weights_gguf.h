// A GGUF model as weights: its row in the table of readers.
#pragma once

#include "pipeline/weights.h"

namespace phiquant {

// Every tensor, those that nothing here decodes too (reading their floats is an error); the experts
// of a stack one by one. Errors: those of open_gguf.
Result<ModelWeights> open_gguf_weights(const std::filesystem::path& path,
                                       const WeightsOptions& options);

}  // namespace phiquant
