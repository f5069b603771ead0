// What a command line means for GGUF files, and which options go with them.
#pragma once

#include "cli/request.h"
#include "phiquant/error.h"

namespace phiquant::cli {

// Fills in what other words imply: an output that ends in .gguf its format, a GGUF file type its
// precision.
void settle_gguf(Invocation& request);

// Errors: usage (options of other formats with --format gguf, and the reverse).
Result<void> check_gguf(const Invocation& request);

}  // namespace phiquant::cli
