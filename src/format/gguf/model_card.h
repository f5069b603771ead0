// What the model card tells GGUF: authors, licence, ancestors, tags.
// Source: llama.cpp b11434, gguf-py/gguf/metadata.py, apply_metadata_heuristic.
#pragma once

#include <cstdint>
#include <vector>

#include "format/gguf/model_name.h"
#include "model/checkpoint/model_card.h"
#include "wire/gguf.h"

namespace phiquant::format {

// Organization, basename, finetune, version and size label, where the card states them. Never the
// name, which llama.cpp draws conclusions from.
ModelId id_of_card(const ModelCard& card);

// general.author and general.description; the keys from general.license to general.languages.
// Base models and data sets are taken apart by their ids as parse_model_id() does, for which
// n_params is the number of parameters of the model itself.
std::string author_of_card(const ModelCard& card);
std::string description_of_card(const ModelCard& card);
std::vector<GgufKeyValue> keys_of_card(const ModelCard& card, uint64_t n_params);

}  // namespace phiquant::format
