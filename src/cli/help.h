// Help texts, made from the option table.
#pragma once

#include <string>

#include "cli/request.h"

namespace phiquant::cli {

// -h: at most 24 lines of 80 columns, the options most used. `verb` none: the program as a whole.
std::string brief_help(Verb verb);
// --help: every option with its details and default, exit codes, examples.
std::string full_help(Verb verb);
// "phiquant 0.1.0"
std::string version_text();

}  // namespace phiquant::cli
