#include "cli/generate.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/help.h"
#include "cli/options.h"

namespace phiquant::cli {
namespace {

// ---- Man page (roff) ----

std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n'))
      out.append("\\&") += c;
    else
      out += c;
  }
  return out;
}

std::string man_options(unsigned bit) {
  std::string out;
  for (const Option* option : options_of(bit)) {
    out += fmt::format(".TP\n.B {}\n{}.\n", roff(option_syntax(*option)), roff(option->help));
    if (!option->details.empty()) out += roff(option->details) + "\n";
    if (!option->default_text.empty())
      out += fmt::format("Default: {}.\n", roff(option->default_text));
  }
  return out;
}

std::string man_page() {
  std::string out = fmt::format(
      ".TH PHIQUANT 1 \"\" \"{}\" \"User Commands\"\n.SH NAME\n"
      "phiquant \\- quantize ONNX models\n.SH SYNOPSIS\n",
      roff(version_text()));
  for (const VerbInfo& verb : verbs())
    out += fmt::format(".B phiquant {}\n{} [options]\n.br\n", verb.name, roff(verb.operands));
  out += ".SH OPTIONS BEFORE ANY COMMAND\n" + man_options(kOnProgram);
  for (const VerbInfo& verb : verbs()) {
    std::string title(verb.name);
    std::transform(title.begin(), title.end(), title.begin(),
                   [](char c) { return static_cast<char>(c - 'a' + 'A'); });
    out += fmt::format(".SH {}\n{}.\n{}\n", title, roff(verb.summary), roff(verb.details)) +
           man_options(verb.bit) +
           fmt::format(".PP\nExamples:\n.PP\n.nf\n{}\n.fi\n", roff(verb.examples));
  }
  out += ".SH EXIT STATUS\n";
  for (const ExitCode& code : exit_codes())
    out += fmt::format(".TP\n.B {}\n{}\n", code.code, roff(code.meaning));
  return out;
}

// ---- Completions ----

std::vector<std::string> option_words(unsigned bit) {
  std::vector<std::string> words;
  for (const Option* option : options_of(bit)) {
    words.emplace_back(option->name);
    if (option->kind == Kind::toggle)
      words.push_back("--no-" + std::string(option->name.substr(2)));
    if (option->short_name) words.push_back(std::string("-") + option->short_name);
  }
  return words;
}

std::vector<std::string> verb_names() {
  std::vector<std::string> names;
  for (const VerbInfo& verb : verbs()) names.emplace_back(verb.name);
  return names;
}

bool takes_value(const Option& option) {
  return option.kind != Kind::flag && option.kind != Kind::toggle;
}

// "-o|--output"
std::string case_pattern(const Option& option) {
  return option.short_name ? fmt::format("-{}|{}", option.short_name, option.name)
                           : std::string(option.name);
}

std::string bash_completion() {
  std::string out =
      "# bash completion for phiquant\n_phiquant() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
      "  COMPREPLY=()\n  case $prev in\n";
  for (const Option& option : options()) {
    if (!takes_value(option)) continue;
    const auto choices = choices_of(option);
    const std::string reply = !choices.empty() ? fmt::format("-W \"{}\"", fmt::join(choices, " "))
                              : option.kind == Kind::path ? "-f"
                                                          : "";
    out += fmt::format("    {}) ", case_pattern(option));
    if (!reply.empty()) out += fmt::format("COMPREPLY=($(compgen {} -- \"$cur\")); ", reply);
    out += "return ;;\n";
  }
  out += fmt::format(
      "  esac\n  if [[ $COMP_CWORD -eq 1 ]]; then\n    words=\"{} {}\"\n  else\n"
      "    case ${{COMP_WORDS[1]}} in\n",
      fmt::join(verb_names(), " "), fmt::join(option_words(kOnProgram), " "));
  for (const VerbInfo& verb : verbs())
    out += fmt::format("      {}) words=\"{}\" ;;\n", verb.name,
                       fmt::join(option_words(verb.bit), " "));
  return out +
         "    esac\n  fi\n  if [[ $cur == -* || $COMP_CWORD -eq 1 ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n  else\n"
         "    COMPREPLY=($(compgen -f -- \"$cur\"))\n  fi\n}\n"
         "complete -o filenames -F _phiquant phiquant\n";
}

// Text inside a zsh _arguments spec in single quotes.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (c == '[' || c == ']' || c == ':')
      out.append("\\") += c;
    else
      out += c;
  }
  return out;
}

std::string zsh_option(const Option& option, std::string_view indent) {
  std::string action;
  if (const auto choices = choices_of(option); !choices.empty())
    action = fmt::format(":{}:({})", zsh_text(option.value_name), fmt::join(choices, " "));
  else if (takes_value(option))
    action = fmt::format(":{}:{}", zsh_text(option.value_name),
                         option.kind == Kind::path ? "_files" : " ");
  const std::string many = option.kind == Kind::list ? "*" : "";
  const auto spec = [&](std::string_view name) {
    return fmt::format("{}'{}{}[{}]{}' \\\n", indent, many, name, zsh_text(option.help), action);
  };
  std::string out = spec(option.name);
  if (option.short_name) out += spec(std::string("-") + option.short_name);
  if (option.kind == Kind::toggle) out += spec("--no-" + std::string(option.name.substr(2)));
  return out;
}

std::string zsh_completion() {
  std::string out = "#compdef phiquant\nif (( CURRENT == 2 )); then\n  _arguments \\\n";
  for (const Option* option : options_of(kOnProgram)) out += zsh_option(*option, "    ");
  out += "    '1:command:((";
  for (const VerbInfo& verb : verbs()) {
    std::string summary;
    for (const char c : zsh_text(verb.summary)) {
      if (c == ' ') summary += '\\';
      summary += c;
    }
    out += fmt::format("{}\\:{} ", verb.name, summary);
  }
  out += "))'\n  return\nfi\ncase $words[2] in\n";
  for (const VerbInfo& verb : verbs()) {
    out += fmt::format("  {})\n    _arguments \\\n", verb.name);
    for (const Option* option : options_of(verb.bit)) out += zsh_option(*option, "      ");
    out +=
        fmt::format("      {} ;;\n", verb.operand_count == 0 ? "'1:command:'" : "'*:file:_files'");
  }
  return out + "esac\n";
}

std::string fish_text(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_option(const Option& option, std::string_view condition) {
  const auto line = [&](std::string_view name, bool with_short) {
    std::string out = fmt::format("complete -c phiquant -n {}", fish_text(condition));
    if (name.size() == 2)
      out += fmt::format(" -s {}", name.substr(1));
    else
      out += fmt::format(" -l {}", name.substr(2));
    if (with_short && option.short_name) out += fmt::format(" -s {}", option.short_name);
    if (const auto choices = choices_of(option); !choices.empty())
      out += fmt::format(" -x -a {}", fish_text(fmt::format("{}", fmt::join(choices, " "))));
    else if (takes_value(option))
      out += option.kind == Kind::path ? " -r -F" : " -x";
    return out + fmt::format(" -d {}\n", fish_text(option.help));
  };
  std::string out = line(option.name, true);
  if (option.kind == Kind::toggle) out += line("--no-" + std::string(option.name.substr(2)), false);
  return out;
}

std::string fish_completion() {
  std::string out = "# fish completion for phiquant\n";
  for (const VerbInfo& verb : verbs())
    out += fmt::format("complete -c phiquant -n __fish_use_subcommand -f -a {} -d {}\n", verb.name,
                       fish_text(verb.summary));
  for (const Option* option : options_of(kOnProgram))
    out += fish_option(*option, "__fish_use_subcommand");
  for (const VerbInfo& verb : verbs())
    for (const Option* option : options_of(verb.bit))
      out += fish_option(*option, fmt::format("__fish_seen_subcommand_from {}", verb.name));
  return out;
}

}  // namespace

std::string generate(std::string_view kind) {
  if (kind == "man") return man_page();
  if (kind == "bash") return bash_completion();
  if (kind == "zsh") return zsh_completion();
  return fish_completion();
}

}  // namespace phiquant::cli
