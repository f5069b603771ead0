// Shell patterns over tensor and node names.
#pragma once

#include <span>
#include <string>

namespace phiquant {

// Whether `name` as a whole matches `pattern`: `*` any run of characters (slashes too: node names
// are full of them), `?` one character, `[abc]` `[a-z]` `[!abc]` one of a set, `\` takes the next
// character as it is.
bool glob_match(const std::string& pattern, const std::string& name);

// Whether any pattern matches.
bool glob_match_any(std::span<const std::string> patterns, const std::string& name);

}  // namespace phiquant
