// UTF-8, as the Unicode standard's table 3-7 has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace phiquant {

// The bytes of the character at the front of `text`, or 0 where there is none: truncated, overlong,
// a surrogate or beyond U+10FFFF.
constexpr size_t utf8_size(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t n = lead >= 0xC2 && lead <= 0xDF   ? 2
                   : lead >= 0xE0 && lead <= 0xEF ? 3
                   : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                  : 0;
  if (n == 0 || text.size() < n) return 0;
  // The second byte's range rules out overlong forms, surrogates and what is beyond U+10FFFF.
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < n; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  return n;
}

constexpr bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = utf8_size(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

}  // namespace phiquant
