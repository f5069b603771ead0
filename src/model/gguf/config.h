// The metadata of a GGUF model as the config.json that it was converted from.
#pragma once

#include <nlohmann/json.hpp>

#include "phiquant/error.h"
#include "wire/gguf_model.h"

namespace phiquant {

// What an architecture's decoder is read from, and what writers of other formats want to see:
// class, sizes, norm, rope, biases. Errors: corrupt (a key is missing or of another type),
// unsupported (architecture, rope scaling).
Result<nlohmann::json> gguf_config(const GgufModel& model);

const GgufTensor* find_gguf_tensor(const GgufModel& model, std::string_view name);

}  // namespace phiquant
