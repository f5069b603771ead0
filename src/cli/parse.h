// The command line to a Invocation. CLI11 splits the words; what an option means comes from the
// table in options.cc.
#pragma once

#include <span>
#include <string>

#include "cli/request.h"
#include "phiquant/error.h"

namespace phiquant::cli {

// `arguments` without the program's name. All errors are usage errors: unknown command or option
// (with the nearest known one), missing or wrong value, missing or superfluous file, combinations
// that cannot work. A request for help, --version or --generate is returned
// before anything else is checked.
Result<Invocation> parse_command_line(std::span<const std::string> arguments);

// What only a command line can get wrong; what does not go together is refused by the library
// (format/legality.h).
Result<void> check_request(const Invocation& request);

}  // namespace phiquant::cli
