// A model of any format as its weights, for inspect and compare.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "model/readers.h"
#include "model/weights.h"
#include "phiquant/error.h"

namespace phiquant {

// Of a checkpoint every weight with the mode in which it is stored, in the order of the files. Of a
// GGUF model every tensor, those that nothing here decodes too (reading their floats is an error);
// the experts of a stack one by one. The path and the format's name are left to open_weights().
// Errors: of a checkpoint, those of its tokenizer's files.
Result<ModelWeights> weights_of(const Checkpoint& checkpoint);
Result<ModelWeights> weights_of(const GgufModel& model);
Result<ModelWeights> weights_of(const OnnxModel& model);

// A tensor as a weight: a vector lies along N, a matrix is [N, K].
NamedWeight dense_weight(SourceTensor tensor, std::optional<WeightKey> key);

// Opens the text part of a multimodal model, without adapters; reads headers only. Errors: those of
// the format's reader.
Result<Model> open_for_reading(const Reader& reader, const std::filesystem::path& path,
                               bool follow_symlinks);
// Of whatever alternative, with path and format.
Result<ModelWeights> weights_of(const Model& model, const Reader& reader,
                                const std::filesystem::path& path);
// All of it.
Result<ModelWeights> open_weights(const std::filesystem::path& path, bool follow_symlinks = false);

// The weight that a tensor of this name is in checkpoints of Phi, or in a graph as ONNX Runtime
// GenAI's model builder (and this program) names it. nullopt for other names.
std::optional<WeightKey> weight_key_of_name(std::string_view name);

}  // namespace phiquant
