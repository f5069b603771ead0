// What a command line means for MLX folders, and which options go with them.
#pragma once

#include "cli/request.h"
#include "phiquant/error.h"

namespace phiquant::cli {

// Fills in what other words imply: an MLX scheme its precision.
void settle_mlx(Invocation& request);

// Errors: usage (options of other formats with --format mlx, and the reverse).
Result<void> check_mlx(const Invocation& request);

}  // namespace phiquant::cli
