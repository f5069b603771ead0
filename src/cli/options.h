// The one table of commands and options. Parsing, -h, --help, shell completions and the man page
// all read it, so that none of them can go stale. To add an option, add a row to kOptions in
// options.cc; where it is about a field of Request, its name comes from format/legality.h, whose
// rules say what it goes with.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/request.h"
#include "phiquant/error.h"

namespace phiquant::cli {

// Bits of Option::verbs.
enum : unsigned {
  kOnQuantize = 1u << 0,
  kOnInspect = 1u << 1,
  kOnCompare = 1u << 2,
  kOnList = 1u << 3,
  kOnProgram = 1u << 4,  // before any command: phiquant --version
  kOnEveryVerb = kOnQuantize | kOnInspect | kOnCompare | kOnList,
};

enum class Kind {
  flag,    // --json
  toggle,  // --progress, --no-progress
  value,   // --block-size N
  choice,  // --style contrib|qdq
  scheme,  // --scheme NAME: a choice among the schemes of this build
  format,  // --format NAME: likewise
  path,    // --report FILE
  list,    // --include GLOB, may be given many times
};

// Takes one occurrence of an option: `value` is "true" or "false" for flags and toggles, else the
// text after it. Errors: usage, without the option's name (the parser puts it in front).
using Setter = Result<void> (*)(Invocation& request, std::string_view value);

struct Option {
  unsigned verbs;
  bool common;            // shown by -h; --help shows all
  std::string_view name;  // "--block-size"
  char short_name;        // 'o', or 0
  Kind kind;
  std::string_view value_name;    // "N"; empty for flags and toggles
  std::string_view choices;       // "int4 int8", separated by blanks; empty: free text
  std::string_view default_text;  // as help shows it; empty: none
  std::string_view help;          // one line
  std::string_view details;       // further sentences for --help and the man page; may be empty
  Setter set;
  std::string_view alias = "";  // an older spelling that works and that nothing shows
};

struct VerbInfo {
  Verb verb;
  unsigned bit;
  std::string_view name;
  std::string_view operands;  // "IN -o OUT --precision P"
  size_t operand_count;
  std::string_view summary;   // one line
  std::string_view details;   // a paragraph for --help and the man page
  std::string_view examples;  // lines separated by '\n'
};

std::span<const Option> options();
std::span<const VerbInfo> verbs();
const VerbInfo& verb_info(Verb verb);              // `verb` is not none
const VerbInfo* find_verb(std::string_view name);  // nullptr: unknown

// Options of one verb (a bit of the above), in the table's order.
std::vector<const Option*> options_of(unsigned verb_bit);

// The words that an option accepts: of a choice its choices, of --scheme and --format those of this
// build; else none.
std::vector<std::string> choices_of(const Option& option);

// "--[no-]progress", "-o, --output OUT": as help shows it.
std::string option_syntax(const Option& option);

struct ExitCode {
  int code;
  std::string_view meaning;
};
std::span<const ExitCode> exit_codes();

}  // namespace phiquant::cli
