// The general.* keys: what the model is called, who made it, under which licence.
#pragma once

#include <cstdint>
#include <vector>

#include "model/checkpoint.h"
#include "model/tokenizer/vocabulary.h"
#include "wire/gguf.h"

namespace phiquant::format {

// Tokens of the context the model was trained with before its rope was stretched.
uint64_t original_context(const Checkpoint& checkpoint);

// Keys from general.type on, in the converter's order, without file_type and quantization_version.
// Sources: generation_config.json (sampling), the model card (README.md; not for the name),
// config.json's _name_or_path, the folder's name; the first that says something wins.
std::vector<GgufKeyValue> general_keys(const Checkpoint& checkpoint, const Vocabulary& vocabulary);

}  // namespace phiquant::format
