#include "core/file.h"

#include <iterator>
#include <system_error>

#include <fmt/format.h>

namespace phiquant {

std::string errno_text(int error) { return std::generic_category().message(error); }

Error io_error(const std::filesystem::path& path, std::string_view what, int error) {
  return Error{Errc::io, fmt::format("{}: {}: {}", path.string(), what, errno_text(error))};
}

std::string bytes_text(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  constexpr std::string_view kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  // 999.95 would print as 1000.0 of its unit.
  for (; value >= 999.95 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  return fmt::format("{:.1f} {} ({} bytes)", value, kUnits[unit], bytes);
}

}  // namespace phiquant
