// Man page and shell completions, made from the option table.
#pragma once

#include <string>
#include <string_view>

namespace phiquant::cli {

// `kind`: "man", "bash", "zsh" or "fish" (checked by the parser).
std::string generate(std::string_view kind);

}  // namespace phiquant::cli
