// The verbs. Each does all of its work and prints its result on stdout; an error is returned, not
// printed.
#pragma once

#include "cli/request.h"
#include "phiquant/error.h"

namespace phiquant::cli {

Result<void> run_quantize(const Request& request);
Result<void> run_inspect(const Request& request);
Result<void> run_compare(const Request& request);  // error verify: --fail-below-sqnr
Result<void> run_list(const Request& request);

}  // namespace phiquant::cli
