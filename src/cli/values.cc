#include "cli/values.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace phiquant::cli {
namespace {

Error wanted(std::string text) { return Error{Errc::usage, "wanted " + std::move(text)}; }

constexpr std::string_view kSizeExample =
    "a size such as 400M, 1.5G (powers of 1000) or 512Mi (powers of 1024)";

// The factor of a unit in lower case; 0 where there is no such unit.
uint64_t unit_factor(std::string_view unit) {
  if (unit.empty() || unit == "b") return 1;
  constexpr std::string_view kPrefixes = "kmgt";
  const size_t power = kPrefixes.find(unit[0]);
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = unit.substr(1);
  const bool binary = rest == "i" || rest == "ib";
  if (!binary && !rest.empty() && rest != "b") return 0;
  uint64_t factor = 1;
  for (size_t i = 0; i <= power; ++i) factor *= binary ? 1024u : 1000u;
  return factor;
}

}  // namespace

Result<uint64_t> parse_count(std::string_view text, uint64_t low, uint64_t high) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < low || value > high)
    return wanted(fmt::format("a whole number from {} to {}", low, high));
  return value;
}

Result<double> parse_decimal(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return wanted("a number such as 20 or 17.5");
  return value;
}

Result<uint64_t> parse_size(std::string_view text) {
  double number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(number) || number < 0 || text.starts_with('-'))
    return wanted(std::string(kSizeExample));
  std::string unit;
  for (const char* c = end; c != last; ++c)
    unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
  const uint64_t factor = unit_factor(unit);
  const double bytes = number * static_cast<double>(factor);
  if (factor == 0 || bytes >= 9.0e18) return wanted(std::string(kSizeExample));
  return static_cast<uint64_t>(bytes);
}

Result<bool> parse_flag(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return Error{Errc::usage, "takes no value"};
}

}  // namespace phiquant::cli
