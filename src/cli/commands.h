// The verbs. Each does all of its work and prints its result on stdout; an error is returned, not
// printed.
#pragma once

#include "cli/request.h"
#include "phiquant/error.h"

namespace phiquant::cli {

Result<void> run_quantize(const Invocation& request);
Result<void> run_inspect(const Invocation& request);
Result<void> run_compare(const Invocation& request);  // error verify: --fail-below-sqnr
Result<void> run_list(const Invocation& request);

}  // namespace phiquant::cli
