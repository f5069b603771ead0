// Which modules of an MLX model are quantized, and how. Source of the mixed recipes: mlx_lm 0.32.2,
// convert.py.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "decide/capability.h"
#include "model/checkpoint.h"
#include "phiquant/error.h"
#include "phiquant/options.h"

namespace phiquant {

// What --scheme names for MLX.
struct MlxScheme {
  std::string_view name, summary;
  std::string_view mode;  // of the row schemes
  unsigned bits;
  unsigned high_bits = 0;                 // of the sensitive layers, in mixed schemes
  uint32_t group_size = 64;               // where none was asked for
  Precision precision = Precision::int4;  // the one that it is a form of
};
std::span<const MlxScheme> mlx_schemes();
// nullptr: no such name.
const MlxScheme* find_mlx_scheme(std::string_view name);

// What the recipe makes of a module that nothing else decides; nullopt: nothing is quantized.
// Errors: usage (a scheme or a group that MLX does not have).
Result<std::optional<Choice>> mlx_base(const Recipe& recipe);

// The rule of a recipe. `tied`: the model has no lm_head of its own. `recipe` and `decoder` outlive
// the capability. Errors: those of mlx_base; usage (options that contradict each other).
Result<Capability> mlx_capability(const Recipe& recipe, const Decoder& decoder, bool tied);

}  // namespace phiquant
