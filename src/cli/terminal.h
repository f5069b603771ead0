// Standard streams, messages and signals. stdout carries results only; all else goes to stderr.
#pragma once

#include <string_view>

#include "cli/request.h"
#include "phiquant/error.h"

namespace phiquant::cli {

// Writes a result to stdout. A reader that went away (broken pipe) is not an error; a full disk is
// (io).
Result<void> print(std::string_view text);

// Messages on stderr through spdlog: "error: ...", "warning: ...", steps without a prefix. Colour
// by `mode` (automatic: stderr is a terminal and NO_COLOR is unset or empty).
void start_messages(ColorMode mode, bool quiet, bool verbose);

// SIGINT and SIGTERM use stop_token(); a second one ends the process at once. SIGPIPE and SIGXFSZ
// are ignored, so that print() and writers see an error.
void catch_signals();
const CancelToken& stop_token();

bool stderr_is_terminal();
// Columns of the terminal on stderr; 80 where unknown.
size_t terminal_width();

}  // namespace phiquant::cli
