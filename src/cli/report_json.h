// Reports as JSON. The fields are described in docs/cli.md; tests/cli holds samples.
#pragma once

#include <string>

#include "cli/request.h"
#include "phiquant/phiquant.h"

namespace phiquant::cli {

// Each returns one object, two blanks of indentation, '\n' at the end. Numbers that JSON cannot
// hold (an infinite SQNR) are null. Text that is not UTF-8 has its bad bytes replaced.
std::string quantize_json(const Invocation& request, const QuantizeReport& report);
std::string inspect_json(const InspectReport& report);
std::string compare_json(const Invocation& request, const CompareReport& report);
std::string list_json();

}  // namespace phiquant::cli
