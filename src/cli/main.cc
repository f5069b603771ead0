// phiquant: parse first, act later, one exit code per kind of error.
#include <string>
#include <vector>

#include <spdlog/spdlog.h>

#include "cli/catalog.h"
#include "cli/commands.h"
#include "cli/generate.h"
#include "cli/help.h"
#include "cli/parse.h"
#include "cli/terminal.h"
#include "cli/text.h"

namespace phiquant::cli {
namespace {

Result<void> act(const Invocation& request) {
  if (request.help == HelpMode::full) return print(full_help(request.verb));
  if (request.help == HelpMode::brief) return print(brief_help(request.verb));
  if (request.version) return print(version_text() + "\n");
  if (!request.generate.empty()) return print(generate(request.generate));
  PHIQUANT_TRY(apply_simd_variable());
  switch (request.verb) {
    case Verb::quantize:
      return run_quantize(request);
    case Verb::inspect:
      return run_inspect(request);
    case Verb::compare:
      return run_compare(request);
    case Verb::list:
      return run_list(request);
    case Verb::none:
      break;
  }
  return Error{Errc::usage, "no command given ('phiquant -h' shows them)"};
}

int fail(const Error& error) {
  spdlog::error("{}", terminal_text(error.message));
  return exit_code(error.code);
}

// What --color says, for messages about a command line that cannot be parsed.
ColorMode color_before_parsing(const std::vector<std::string>& arguments) {
  ColorMode mode = ColorMode::automatic;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    const std::string next = i + 1 < arguments.size() ? arguments[i + 1] : "";
    if (word == "--color=never" || (word == "--color" && next == "never")) mode = ColorMode::never;
    if (word == "--color=always" || (word == "--color" && next == "always"))
      mode = ColorMode::always;
  }
  return mode;
}

int run(const std::vector<std::string>& arguments) {
  catch_signals();
  start_messages(color_before_parsing(arguments), false, false);
  const Result<Invocation> request = parse_command_line(arguments);
  if (!request) return fail(request.error());
  start_messages(request->color, request->quiet, request->verbose);
  const Result<void> done = act(*request);
  return done ? 0 : fail(done.error());
}

}  // namespace
}  // namespace phiquant::cli

int main(int argc, char** argv) {
  try {
    return phiquant::cli::run({argv + 1, argv + argc});
  } catch (const std::bad_alloc&) {
    spdlog::error("out of memory (try a smaller --max-memory or fewer --threads)");
    return 1;
  }
}
