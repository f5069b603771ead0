// What `phiquant quantize` tells people.
#pragma once

#include <string>

#include "cli/request.h"
#include "phiquant/phiquant.h"

namespace phiquant::cli {

// The summary; with `verbose` or for a dry run also one line per tensor.
std::string quantize_text(const Invocation& request, const QuantizeReport& report);

}  // namespace phiquant::cli
