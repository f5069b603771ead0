// Which modules of an MLX model are quantized, and how.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/mlx_modules.h"
#include "phiquant/convert.h"
#include "phiquant/row_scheme.h"

namespace phiquant::format {

// How one module is stored: what `quantization` in config.json says of it.
struct MlxMode {
  const RowScheme* scheme = nullptr;  // its name is mlx_lm's "mode"
  unsigned bits = 0;
  uint32_t group_size = 0;
  bool operator==(const MlxMode&) const = default;
};

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

struct MlxChoice {
  std::optional<MlxMode> mode;  // empty: float
  std::string reason;
  bool recorded = false;  // config.json has a line of its own about the module
};

struct MlxPlanning {
  std::optional<MlxMode> base;     // empty: nothing is quantized
  std::vector<MlxChoice> choices;  // one for each module
};

// Errors: usage (options that contradict each other or that MLX has no use for, a glob that matches
// nothing).
Result<MlxPlanning> plan_modes(const QuantizeOptions& options, const Decoder& decoder, bool tied,
                               const std::vector<MlxModule>& modules,
                               const std::set<std::string>& keep_float);

}  // namespace phiquant::format
