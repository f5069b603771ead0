#include "cli/help.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/options.h"
#include "cli/text.h"

namespace phiquant::cli {
namespace {

constexpr size_t kWidth = 80;

std::string usage_line(const VerbInfo& verb) {
  return fmt::format("Usage: phiquant {}{}{} [options]\n", verb.name,
                     verb.operands.empty() ? "" : " ", verb.operands);
}

// What -h and --help print below the summary of the program.
std::string commands() {
  Table table("ll");
  for (const VerbInfo& verb : verbs())
    table.row({fmt::format("{}{}{}", verb.name, verb.operands.empty() ? "" : " ", verb.operands),
               std::string(verb.summary)});
  return "Commands:\n" + table.text(2);
}

std::string exit_code_list() {
  std::string text = "Exit codes:\n";
  for (const ExitCode& code : exit_codes())
    text += fmt::format("  {:>3}  {}\n", code.code, code.meaning);
  return text;
}

std::string brief_options(unsigned bit) {
  Table table("ll");
  for (const Option* option : options_of(bit))
    if (option->common)
      table.row(
          {(option->short_name || option->name.size() == 2 ? "" : "    ") + option_syntax(*option),
           std::string(option->help)});
  return table.text(2);
}

std::string full_options(unsigned bit) {
  std::string text;
  for (const Option* option : options_of(bit)) {
    text += fmt::format("  {}\n", option_syntax(*option));
    std::string help = fmt::format("{}.", option->help);
    if (!option->details.empty()) help.append(" ").append(option->details);
    if (!option->default_text.empty()) help += fmt::format(" Default: {}.", option->default_text);
    text += wrapped(help, 6, kWidth);
  }
  return text;
}

std::string example_lines(std::string_view examples) {
  std::string text = "Examples:\n";
  while (!examples.empty()) {
    const size_t end = std::min(examples.find('\n'), examples.size());
    text += fmt::format("  {}\n", examples.substr(0, end));
    examples.remove_prefix(std::min(end + 1, examples.size()));
  }
  return text;
}

}  // namespace

std::string version_text() { return "phiquant " PHIQUANT_VERSION; }

std::string brief_help(Verb verb) {
  if (verb == Verb::none)
    return version_text() +
           ": quantizes ONNX models, Microsoft's Phi first of all\n\nUsage: phiquant COMMAND "
           "...\n\n" +
           commands() + "\n" + brief_options(kOnProgram) +
           "\n'phiquant COMMAND -h' shows the options of a command.\n";
  const VerbInfo& info = verb_info(verb);
  return fmt::format(
      "{}\n{}\n\n{}\n'phiquant {} --help' shows all options, exit codes and examples.\n",
      usage_line(info), info.summary, brief_options(info.bit), info.name);
}

std::string full_help(Verb verb) {
  if (verb == Verb::none)
    return version_text() +
           ": quantizes ONNX models, Microsoft's Phi first of all\n\nUsage: phiquant COMMAND "
           "...\n\n" +
           commands() + "\nOptions before any command:\n" + full_options(kOnProgram) + "\n" +
           exit_code_list() +
           "\nResults go to stdout, messages and progress to stderr. 'phiquant COMMAND --help'\n"
           "shows all options of a command.\n";
  const VerbInfo& info = verb_info(verb);
  return fmt::format("{}\n{}\nOptions:\n{}\n{}\n{}", usage_line(info),
                     wrapped(info.details, 0, kWidth), full_options(info.bit), exit_code_list(),
                     example_lines(info.examples));
}

}  // namespace phiquant::cli
