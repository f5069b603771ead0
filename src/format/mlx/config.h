// config.json of an MLX folder: the checkpoint's own, as mlx_lm's classes want it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "decide/choice.h"
#include "model/checkpoint.h"
#include "phiquant/options.h"

namespace phiquant::format {

// Whether the folder is written without lm_head: only phi3 can be, and only where the
// checkpoint's config says so or is silent.
bool mlx_is_tied(const Checkpoint& checkpoint);

// The dtype that the config wants all floats in; undefined: each as it is stored.
DType mlx_config_dtype(const Checkpoint& checkpoint);

// A module that is stored otherwise than the rest: config.json names it.
struct MlxException {
  std::string path;
  Choice choice;
};

// The text, with keys sorted as mlx_lm writes it. `context`: where it is not above the original
// length, the short rope factors stand in place of the long ones, which mlx_lm uses for every
// length. `base`: what modules are stored as that are no exception; nullopt: nothing is quantized.
std::string mlx_config(const Checkpoint& checkpoint, bool tied, const std::optional<Choice>& base,
                       const std::vector<MlxException>& exceptions,
                       std::optional<uint64_t> context);

}  // namespace phiquant::format
