#include "cli/parse.h"

#include <algorithm>
#include <map>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "cli/options.h"
#include "core/nearest.h"
#include "format/legality.h"

namespace phiquant::cli {
namespace {

constexpr std::string_view kProgram = "phiquant";  // the owner of the options before any command

Error usage(std::string message) { return Error{Errc::usage, std::move(message)}; }

bool takes_value(const Option& option) {
  return option.kind != Kind::flag && option.kind != Kind::toggle;
}

// The name CLI11 knows a row by: "-o,--output", "--progress,!--no-progress".
std::string cli11_name(const Option& option) {
  std::string name;
  if (option.short_name) name = std::string("-") + option.short_name + ",";
  name += option.name;
  if (!option.alias.empty()) name.append(",").append(option.alias);
  if (option.kind == Kind::toggle) name.append(",!--no-").append(option.name.substr(2));
  return name;
}

// Every spelling of the options of a verb, for suggestions.
std::vector<std::string> spellings(std::span<const Option* const> rows) {
  std::vector<std::string> names;
  for (const Option* option : rows) {
    names.emplace_back(option->name);
    if (option->kind == Kind::toggle)
      names.push_back("--no-" + std::string(option->name.substr(2)));
  }
  return names;
}

const Option* find_row(std::span<const Option* const> rows, std::string_view word) {
  for (const Option* option : rows) {
    if (word == option->name || (!option->alias.empty() && word == option->alias)) return option;
    if (option->short_name && word.size() == 2 && word[0] == '-' && word[1] == option->short_name)
      return option;
  }
  return nullptr;
}

// Refuses what CLI11 would read in a surprising way: it takes any next word as an option's value,
// be it an option, and "--option=" as if the value followed.
Result<void> check_values_follow(std::span<const std::string> words,
                                 std::span<const Option* const> rows) {
  for (size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    const std::string& word = words[i];
    const size_t equals = word.starts_with("--") ? word.find('=') : std::string::npos;
    const Option* option = find_row(rows, word.substr(0, equals));
    if (!option || !takes_value(*option)) continue;
    const bool missing = equals != std::string::npos
                             ? equals + 1 == word.size()
                             : i + 1 == words.size() || words[i + 1].starts_with("--");
    if (missing) {
      const auto choices = choices_of(*option);
      return usage(fmt::format("{}: needs a value, {}", option->name,
                               choices.empty()
                                   ? std::string(option->value_name)
                                   : fmt::format("one of {}", fmt::join(choices, ", "))));
    }
    if (equals == std::string::npos) ++i;
  }
  return {};
}

// One occurrence of an option: checks its choices, then stores it. Errors name the option.
Result<void> store(Invocation& request, const Option& option, const std::string& value) {
  const std::string where =
      takes_value(option) ? fmt::format("{} {}", option.name, value) : std::string(option.name);
  const auto choices = choices_of(option);
  if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end())
    return usage(fmt::format("{}: unknown{}; wanted one of {}", where, did_you_mean(value, choices),
                             fmt::join(choices, ", ")));
  if (Result<void> stored = option.set(request, value); !stored)
    return usage(fmt::format("{}: {}", where, stored.error().message));
  return {};
}

// `word` begins with a dash and CLI11 found no place for it.
Error unknown_option(const std::string& word, std::span<const Option* const> rows,
                     std::string_view owner) {
  const std::string name = word.substr(0, word.find('='));
  if (owner == kProgram && find_row(options_of(kOnEveryVerb), name))
    return usage(
        fmt::format("{}: belongs after a command, as in 'phiquant quantize ... {}'", name, name));
  // One letter is as near to any other.
  const std::string hint = name.starts_with("--") ? did_you_mean(name, spellings(rows)) : "";
  return usage(fmt::format("{}: unknown option of '{}'{}", name, owner, hint));
}

// Splits `words` by the rows of the table and stores what they say, in the order given (the last
// one wins).
Result<void> read_options(Invocation& request, std::span<const std::string> words,
                          std::span<const Option* const> rows, std::string_view owner) {
  PHIQUANT_TRY(check_values_follow(words, rows));
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  std::map<const CLI::Option*, const Option*> row_of;
  for (const Option* row : rows) {
    CLI::Option* made =
        takes_value(*row) ? app.add_option(cli11_name(*row)) : app.add_flag(cli11_name(*row));
    made->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    if (takes_value(*row)) made->expected(1)->allow_extra_args(false);
    row_of[made] = row;
  }
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // CLI11 wants them reversed
  } catch (const CLI::ParseError& error) {
    return usage(error.what());
  }
  std::map<const CLI::Option*, size_t> seen;
  for (const CLI::Option* option : app.parse_order())
    PHIQUANT_TRY(store(request, *row_of.at(option), option->results().at(seen[option]++)));

  std::vector<std::string> operands, unknown;
  bool only_operands = false;
  for (const std::string& word : app.remaining()) {
    if (!only_operands && word == "--")
      only_operands = true;
    else if (only_operands || word == "-" || !word.starts_with('-'))
      operands.push_back(word);
    else
      unknown.push_back(word);
  }
  if (!unknown.empty()) return unknown_option(unknown.front(), rows, owner);
  request.operands = std::move(operands);
  return {};
}

std::string usage_of(const VerbInfo& verb) {
  return fmt::format("phiquant {}{}{}", verb.name, verb.operands.empty() ? "" : " ", verb.operands);
}

Result<void> check_operands(const Invocation& request) {
  const VerbInfo& verb = verb_info(request.verb);
  const size_t found = request.operands.size();
  if (found < verb.operand_count)
    return usage(fmt::format(
        "{}: {} missing (usage: {})", verb.name,
        verb.operand_count == 1 ? "the model file is" : "two model files are needed, one or both",
        usage_of(verb)));
  if (found > verb.operand_count)
    return usage(fmt::format("{}: superfluous word '{}' (usage: {})", verb.name,
                             request.operands[verb.operand_count], usage_of(verb)));
  for (const std::string& operand : request.operands)
    if (operand == "-")
      return usage(
          "-: a model cannot be read from standard input, because it is read out of order (give a "
          "file)");
  return {};
}

}  // namespace

Result<Invocation> parse_command_line(std::span<const std::string> arguments) {
  Invocation request;
  if (arguments.empty()) return request;
  const std::string& first = arguments[0];
  if (first.starts_with('-')) {
    PHIQUANT_TRY(read_options(request, arguments, options_of(kOnProgram), kProgram));
    if (!request.operands.empty())
      return usage(
          fmt::format("{}: superfluous after {} (a command comes first: phiquant COMMAND ...)",
                      request.operands[0], first));
    return request;
  }
  const VerbInfo* verb = find_verb(first);
  if (!verb) {
    std::vector<std::string_view> names;
    for (const VerbInfo& known : verbs()) names.push_back(known.name);
    return usage(fmt::format("{}: unknown command{}; wanted one of {}", first,
                             did_you_mean(first, names), fmt::join(names, ", ")));
  }
  request.verb = verb->verb;
  PHIQUANT_TRY(read_options(request, arguments.subspan(1), options_of(verb->bit), verb->name));
  if (request.help != HelpMode::none) return request;
  PHIQUANT_TRY(check_operands(request));
  PHIQUANT_TRY(check_request(request));
  if (verb->verb == Verb::quantize) {
    request.quantize.source.path = request.operands[0];
    const bool both = request.symmetric_given && request.asymmetric_given;
    PHIQUANT_ASSIGN(request.quantize, settle(std::move(request.quantize), both));
  }
  return request;
}

}  // namespace phiquant::cli
