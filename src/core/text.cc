#include "core/text.h"

#include <fmt/core.h>

namespace phiquant {

std::string printable(std::string_view text) {
  constexpr size_t kMaxShown = 200;
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == kMaxShown) return out + "...";
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x7f)
      out.push_back(text[i]);
    else
      out += fmt::format("\\x{:02x}", c);
  }
  return out;
}

}  // namespace phiquant
