#include "cli/text.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace phiquant::cli {

namespace {

// Columns that UTF-8 text takes, counting one per code point.
size_t columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace

std::string human_bytes(uint64_t bytes) {
  if (bytes < 1000) return counted(bytes, "byte");
  double value = static_cast<double>(bytes);
  constexpr std::string_view kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  size_t unit = 0;
  for (value /= 1000; value >= 999.5 && unit + 1 < std::size(kUnits); value /= 1000) ++unit;
  return fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string with_commas(uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string human_db(double db) {
  if (std::isnan(db)) return "n/a";
  if (std::isinf(db)) return db > 0 ? "exact" : "-inf dB";
  return fmt::format("{:.2f} dB", db);
}

std::string counted(uint64_t count, std::string_view word) {
  return fmt::format("{} {}{}", with_commas(count), word, count == 1 ? "" : "s");
}

std::string wrapped(std::string_view text, size_t indent, size_t width) {
  std::string out, line;
  const auto flush = [&] {
    if (!line.empty()) out.append(indent, ' ').append(line).append("\n");
    line.clear();
  };
  while (!text.empty()) {
    const size_t blank = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, blank);
    text.remove_prefix(std::min(blank + 1, text.size()));
    if (!line.empty() && indent + line.size() + 1 + word.size() > width) flush();
    if (!line.empty()) line += ' ';
    line += word;
  }
  flush();
  return out;
}

std::string terminal_text(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

void Table::row(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = terminal_text(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::text(size_t indent) const {
  std::vector<size_t> widths(alignment_.size(), 0);
  for (const auto& cells : rows_)
    for (size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], columns(cells[i]));
  std::string out;
  for (const auto& cells : rows_) {
    std::string line(indent, ' ');
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) line += "  ";
      const std::string gap(widths[i] - columns(cells[i]), ' ');
      line += alignment_[i] == 'r' ? gap + cells[i] : cells[i] + gap;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace phiquant::cli
