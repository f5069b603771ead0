// Text of files in messages.
#pragma once

#include <string>
#include <string_view>

namespace phiquant {

// Text from a file made fit for a message: control characters and invalid bytes as \xNN, at most
// 200 bytes.
std::string printable(std::string_view text);

}  // namespace phiquant
