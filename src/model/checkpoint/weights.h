// Tensors of the files -> weights of the decoder.
#pragma once

#include <vector>

#include "model/arch/arch.h"
#include "model/checkpoint.h"
#include "model/checkpoint/folder.h"

namespace phiquant {

// Fills weights, left_out and dtype of `out`, whose decoder is known. `tie_is_stated`: config.json
// has tie_word_embeddings; where it has not, an absent lm_head means tied. May set
// decoder.tied_embeddings. Errors: corrupt (missing, extra, misshapen tensors, each named),
// unsupported (dtype; an adapter that is not there).
Result<void> assign_weights(const Architecture& arch, const ConfigView& config,
                            const std::vector<FoundTensor>& found, MergeLora merge,
                            bool tie_is_stated, Checkpoint& out);

// Detects lm_head equal to the embedding table, whatever the config says: reads both until they
// first differ. A config that ties two different tables is overruled, with a warning.
Result<void> settle_tied_embeddings(Checkpoint& checkpoint);

}  // namespace phiquant
