#include "model/tokenizer/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <unordered_map>

#include <fmt/core.h>
#include <yaml-cpp/binary.h>

#include "core/text.h"

namespace phiquant {
namespace {

// Finding a token's merge takes steps in the square of its length.
constexpr size_t kMaxTokenBytes = 256;

Error wrong_line(std::string_view where, size_t line, const std::string& what) {
  return {Errc::corrupt, fmt::format("{}: line {}: {}", where, line, what)};
}

// The library (yaml-cpp 0.7) reads past its table at bytes from 0x80 on, skips spaces and takes any
// ending for padding; encoding again shows whether there was something else.
std::optional<std::string> decode_base64(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) > 0x7F; }))
    return std::nullopt;
  const auto bytes = YAML::DecodeBase64(std::string(text));
  if (bytes.empty() || YAML::EncodeBase64(bytes.data(), bytes.size()) != text) return std::nullopt;
  return std::string(bytes.begin(), bytes.end());
}

struct Line {
  size_t number;
  std::string_view token, rank;
};

Result<std::optional<Line>> split_line(std::string_view where, size_t number,
                                       std::string_view text) {
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (text.empty()) return std::optional<Line>();
  const size_t space = text.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == text.size())
    return wrong_line(where, number,
                      fmt::format("'{}' is not a token in base64 and its rank with a space between",
                                  printable(text)));
  return std::optional<Line>({number, text.substr(0, space), text.substr(space + 1)});
}

struct Ranked {
  uint32_t rank;
  TiktokenToken token;
};

Result<Ranked> read_line(std::string_view where, const Line& line) {
  if (line.token.size() > kMaxTokenBytes / 3 * 4 + 4)
    return Error{
        Errc::unsupported,
        fmt::format("{}: line {}: a token of {} characters in base64; at most {} bytes are "
                    "read",
                    where, line.number, line.token.size(), kMaxTokenBytes)};
  auto bytes = decode_base64(line.token);
  if (!bytes)
    return wrong_line(where, line.number, fmt::format("'{}' is not base64", printable(line.token)));
  uint32_t rank = 0;
  const char* end = line.rank.data() + line.rank.size();
  const auto [stop, problem] = std::from_chars(line.rank.data(), end, rank);
  if (problem != std::errc() || stop != end)
    return wrong_line(where, line.number,
                      fmt::format("rank '{}' is not a whole number from 0 to {}",
                                  printable(line.rank), std::numeric_limits<uint32_t>::max()));
  return Ranked{rank, {std::move(*bytes), line.number}};
}

Result<std::vector<Ranked>> read_lines(std::string_view where, std::string_view text) {
  std::vector<Ranked> out;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    PHIQUANT_ASSIGN(const auto line, split_line(where, ++number, text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line) continue;
    PHIQUANT_ASSIGN(Ranked ranked, read_line(where, *line));
    out.push_back(std::move(ranked));
  }
  return out;
}

Result<std::vector<TiktokenToken>> by_rank(std::string_view where, std::vector<Ranked> lines) {
  std::vector<TiktokenToken> tokens(lines.size());
  for (Ranked& line : lines) {
    if (line.rank >= tokens.size())
      return wrong_line(where, line.token.line,
                        fmt::format("rank {}, and the file has {} tokens (wanted every rank from 0 "
                                    "on; incomplete download?)",
                                    line.rank, tokens.size()));
    TiktokenToken& place = tokens[line.rank];
    if (place.line != 0)
      return wrong_line(where, std::max(line.token.line, place.line),
                        fmt::format("rank {} is that of line {} too", line.rank,
                                    std::min(line.token.line, place.line)));
    place = std::move(line.token);
  }
  return tokens;
}

using Ranks = std::unordered_map<std::string_view, uint32_t>;

// How BPE puts tokens together. Its buffers serve all tokens.
class Joiner {
 public:
  explicit Joiner(const std::vector<TiktokenToken>& tokens) { ranks_.reserve(tokens.size()); }
  void add(std::string_view token, uint32_t rank) { ranks_.emplace(token, rank); }
  // The two parts that are left of a token of two bytes and more when nothing can be joined by the
  // ranks that were added; nullopt where more are left.
  std::optional<std::pair<uint32_t, uint32_t>> parts_of(std::string_view token);

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  struct Part {
    size_t begin;
    uint32_t joined;  // the rank of this part and the next one together
  };
  uint32_t rank_of(std::string_view token, size_t part, size_t n) const {
    if (part + n >= parts_.size()) return kNone;
    const size_t begin = parts_[part].begin;
    const auto it = ranks_.find(token.substr(begin, parts_[part + n].begin - begin));
    return it == ranks_.end() ? kNone : it->second;
  }

  Ranks ranks_;
  std::vector<Part> parts_;  // and the end
};

std::optional<std::pair<uint32_t, uint32_t>> Joiner::parts_of(std::string_view token) {
  parts_.clear();
  for (size_t i = 0; i <= token.size(); ++i) parts_.push_back({i, kNone});
  for (size_t i = 0; i < token.size(); ++i) parts_[i].joined = rank_of(token, i, 2);
  while (parts_.size() > 3) {
    const auto best =
        std::min_element(parts_.begin(), parts_.end(),
                         [](const Part& a, const Part& b) { return a.joined < b.joined; });
    if (best->joined == kNone) return std::nullopt;
    const auto at = static_cast<size_t>(best - parts_.begin());
    parts_.erase(best + 1);
    parts_[at].joined = rank_of(token, at, 2);
    if (at > 0) parts_[at - 1].joined = rank_of(token, at - 1, 2);
  }
  return std::pair(rank_of(token, 0, 1), rank_of(token, 1, 1));
}

}  // namespace

Result<std::vector<TiktokenToken>> read_tiktoken(std::string_view where, std::string_view text) {
  PHIQUANT_ASSIGN(auto lines, read_lines(where, text));
  PHIQUANT_ASSIGN(auto tokens, by_rank(where, std::move(lines)));
  std::unordered_map<std::string_view, size_t> seen;
  seen.reserve(tokens.size());
  for (const TiktokenToken& token : tokens)
    if (const auto [it, is_new] = seen.emplace(token.bytes, token.line); !is_new)
      return wrong_line(where, std::max(token.line, it->second),
                        fmt::format("token '{}' is that of line {} too", printable(token.bytes),
                                    std::min(token.line, it->second)));
  for (int byte = 0; byte < 256; ++byte)
    if (!seen.contains(std::string(1, static_cast<char>(byte))))
      return Error{Errc::corrupt,
                   fmt::format("{}: byte 0x{:02X} is no token of its own (wanted all "
                               "256; incomplete download?)",
                               where, byte)};
  return tokens;
}

Result<std::vector<std::pair<uint32_t, uint32_t>>> tiktoken_merges(
    std::string_view where, const std::vector<TiktokenToken>& tokens) {
  std::vector<std::pair<uint32_t, uint32_t>> merges;
  merges.reserve(tokens.size());
  Joiner joiner(tokens);
  // Bytes are there from the start, whatever their rank.
  for (size_t rank = 0; rank < tokens.size(); ++rank)
    if (tokens[rank].bytes.size() == 1) joiner.add(tokens[rank].bytes, static_cast<uint32_t>(rank));
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    const TiktokenToken& token = tokens[rank];
    if (token.bytes.size() == 1) continue;
    const auto parts = joiner.parts_of(token.bytes);
    if (!parts)
      return wrong_line(where, token.line,
                        fmt::format("token '{}' is not put together from two tokens of lower rank",
                                    printable(token.bytes)));
    merges.push_back(*parts);
    joiner.add(token.bytes, static_cast<uint32_t>(rank));
  }
  return merges;
}

std::string byte_level_text(std::string_view bytes) {
  static const auto kTable = [] {
    std::array<std::string, 256> table;
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < table.size(); ++byte) {
      const bool prints =
          (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);  // a soft hyphen
      const uint32_t code = prints ? byte : next++;
      if (code < 0x80)
        table[byte] = static_cast<char>(code);
      else
        table[byte] = {static_cast<char>(0xC0 | code >> 6),
                       static_cast<char>(0x80 | (code & 0x3F))};
    }
    return table;
  }();
  std::string out;
  for (const char c : bytes) out += kTable[static_cast<uint8_t>(c)];
  return out;
}

}  // namespace phiquant
