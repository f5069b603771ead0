// Numbers and tables for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace phiquant::cli {

// "812 bytes", "14.7 MB": powers of 1000, three digits.
std::string human_bytes(uint64_t bytes);
// "1,234,567"
std::string with_commas(uint64_t number);
// "21.43 dB", "exact" where infinite, "n/a" where not a number.
std::string human_db(double db);
// `count` and the word, with an s unless it is one: "1 warning", "3 warnings".
std::string counted(uint64_t count, std::string_view word);
// Breaks `text` at blanks into lines of at most `width` characters, each after `indent` blanks;
// ends with '\n'.
std::string wrapped(std::string_view text, size_t indent, size_t width);

// `text` with control characters replaced by '?': names come from files that may want to move the
// cursor.
std::string terminal_text(std::string_view text);

// Left- or right-aligned columns, two blanks apart; no blanks at line ends.
class Table {
 public:
  // One letter a column: 'l' or 'r'.
  explicit Table(std::string alignment) : alignment_(std::move(alignment)) {}
  void row(std::vector<std::string> cells);  // each made terminal_text()
  size_t size() const { return rows_.size(); }
  std::string text(size_t indent = 0) const;

 private:
  std::string alignment_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace phiquant::cli
