// Recognizes files that stand where weights or JSON should be, by their first bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace phiquant {

// What the file is and what to try; nullopt where it may be what it is called. `head`: at least the
// first 64 bytes, or all of a shorter file.
std::optional<std::string> not_weights_because(std::string_view head);

}  // namespace phiquant
