#include "format/gguf/model_name.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include <fmt/core.h>

namespace phiquant::format {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
// Bytes of other scripts count as letters; their case stays as it is.
bool is_letter(char c) {
  return is_lower(c) || is_upper(c) || static_cast<unsigned char>(c) >= 0x80;
}
char lower(char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }
char upper(char c) { return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c; }
std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

size_t skip_digits(std::string_view text, size_t at) {
  while (at < text.size() && is_digit(text[at])) ++at;
  return at;
}

// v1.2, iter3, 2.0: a number with dots.
bool is_version(std::string_view part) {
  const std::string text = lowered(part);
  std::string_view rest = text;
  if (rest.starts_with("iter"))
    rest.remove_prefix(4);
  else if (rest.starts_with("v"))
    rest.remove_prefix(1);
  for (size_t at = 0;; ++at) {
    const size_t end = skip_digits(rest, at);
    if (end == at) return false;
    if (end == rest.size()) return true;
    if (rest[end] != '.') return false;
    at = end;
  }
}

// q4_k, iq2_x, f16, bf16, fp32.
bool is_quant_type(std::string_view part) {
  const std::string text = lowered(part);
  std::string_view rest = text;
  std::string_view numbers = rest;
  if (numbers.starts_with("b")) numbers.remove_prefix(1);
  if (numbers.starts_with("f")) {
    numbers.remove_prefix(1);
    if (numbers.starts_with("p")) numbers.remove_prefix(1);
    if (numbers == "16" || numbers == "32") return true;
  }
  if (rest.starts_with("i")) rest.remove_prefix(1);
  if (rest.size() < 2 || rest[0] != 'q' || !is_digit(rest[1])) return false;
  for (rest.remove_prefix(2); !rest.empty(); rest.remove_prefix(2))
    if (rest.size() < 2 || rest[0] != '_' ||
        !(is_letter(rest[1]) || is_digit(rest[1]) || rest[1] == '_'))
      return false;
  return true;
}

bool is_word_size(std::string_view part) {
  const std::string text = lowered(part);
  return text == "small" || text == "mini" || text == "medium" || text == "large" || text == "xl" ||
         text == "xxl";
}

// 3.8B, 8x7B, A4B, 7b1, 4k.
bool is_number_size(std::string_view part) {
  const std::string text = lowered(part);
  std::string_view rest = text;
  if (rest.starts_with("a")) {
    rest.remove_prefix(1);
  } else if (const size_t end = skip_digits(rest, 0);
             end > 0 && end < rest.size() && rest[end] == 'x') {
    rest.remove_prefix(end + 1);
  }
  size_t at = skip_digits(rest, 0);
  if (at == 0) return false;
  if (at < rest.size() && (rest[at] == '.' || rest[at] == '_')) {
    const size_t end = skip_digits(rest, at + 1);
    if (end == at + 1) return false;
    at = end;
  }
  if (at == rest.size() || std::string_view("kmbt").find(rest[at]) == std::string_view::npos)
    return false;
  return at + 1 == rest.size() || (at + 2 == rest.size() && is_digit(rest[at + 1]));
}

// 7b1 -> 7.1B, 3_8b -> 3.8B
std::string normal_size(std::string_view part) {
  std::string out(part);
  std::replace(out.begin(), out.end(), '_', '.');
  const size_t n = out.size();
  if (n >= 2 && is_digit(out[n - 1])) out = out.substr(0, n - 2) + "." + out[n - 1] + out[n - 2];
  if (out.size() > 1 && is_digit(out[out.size() - 2]) &&
      std::string_view("kmbt").find(out.back()) != std::string_view::npos)
    out.back() = upper(out.back());
  return out;
}

// Of "3.8B"; nothing for words and for "8x7B".
std::optional<double> params_of(const std::string& label) {
  if (label.size() < 2) return std::nullopt;
  const size_t power = std::string_view(" KMBT").find(label.back());
  double number = 0;
  const auto [end, problem] = std::from_chars(label.data(), label.data() + label.size() - 1, number,
                                              std::chars_format::fixed);
  if (power == std::string_view::npos || problem != std::errc() ||
      end != label.data() + label.size() - 1)
    return std::nullopt;
  return number * std::pow(1000.0, static_cast<double>(power));
}

bool is_near(double label, uint64_t n_params) {
  const double n = static_cast<double>(n_params);
  return std::abs(label - n) <= std::floor(7 * n / 8);
}

struct Part {
  std::string text;
  bool basename = false, size_label = false, finetune = false, version = false, type = false;
  bool is_plain() const { return !basename && !size_label && !finetune && !version && !type; }
};
using Parts = std::vector<Part>;

void mark_size(Parts& parts, size_t i, uint64_t n_params) {
  Part& part = parts[i];
  part.text = normal_size(part.text);
  const auto label = params_of(part.text);
  if (n_params != 0 && label) {
    // "26B-A4B": all parameters, then those in use.
    bool active_follows = false;
    if (i + 1 < parts.size() && is_number_size(parts[i + 1].text) &&
        lower(parts[i + 1].text[0]) == 'a')
      if (const auto active = params_of(normal_size(parts[i + 1].text).substr(1)))
        active_follows = is_near(*active, n_params);
    if (!active_follows && !is_near(*label, n_params)) {
      part.finetune = true;
      part.text.back() = lower(part.text.back());
    }
  }
  if (part.is_plain()) part.size_label = true;
}

void mark(Parts& parts, uint64_t n_params) {
  for (size_t i = 0; i < parts.size(); ++i) {
    Part& part = parts[i];
    const std::string word = lowered(part.text);
    if (is_version(part.text)) {
      part.version = true;
    } else if (is_quant_type(part.text)) {
      part.type = true;
      std::transform(part.text.begin(), part.text.end(), part.text.begin(), upper);
    } else if (i > 0 && (is_number_size(part.text) || is_word_size(part.text))) {
      mark_size(parts, i, n_params);
    } else if (i > 0 &&
               (word == "chat" || word == "instruct" || word == "vision" || word == "lora")) {
      part.finetune = true;
    }
  }
}

// "mini" says nothing where there is "3.8B".
void drop_word_sizes(Parts& parts) {
  const bool has_number = std::any_of(parts.begin(), parts.end(), [](const Part& p) {
    return p.size_label && std::any_of(p.text.begin(), p.text.end(), is_digit);
  });
  if (!has_number) return;
  for (Part& p : parts)
    if (std::all_of(p.text.begin(), p.text.end(), is_letter)) p.size_label = false;
}

void mark_basename(Parts& parts) {
  bool at_start = true;
  for (Part& p : parts) {
    if (at_start && ((p.is_plain() && is_letter(p.text[0])) || p.version)) {
      p.basename = true;
    } else {
      at_start = false;
      if (p.is_plain()) p.finetune = true;
    }
  }
  // A version at the end is no part of it.
  for (auto p = parts.rbegin(); p != parts.rend(); ++p) {
    if (!p->basename || !p->version) break;
    p->basename = false;
  }
}

template <class Pick>
std::string join(const Parts& parts, Pick pick, bool unique = false) {
  std::vector<std::string> taken;
  for (const Part& p : parts)
    if (pick(p) && !(unique && std::find(taken.begin(), taken.end(), p.text) != taken.end()))
      taken.push_back(p.text);
  std::string out;
  for (const std::string& text : taken) out += (out.empty() ? "" : "-") + text;
  return out;
}

Parts split(std::string_view name) {
  Parts parts;
  while (!name.empty()) {
    const size_t end = std::min(name.find('-'), name.size());
    if (end > 0) parts.push_back({std::string(name.substr(0, end))});
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return parts;
}

}  // namespace

ModelId parse_model_id(std::string_view id, uint64_t n_params) {
  ModelId out;
  if (id.find(' ') != std::string_view::npos) {  // a sentence
    out.name = id;
    return out;
  }
  if (const size_t slash = id.find('/'); slash != std::string_view::npos) {
    out.organization = id.substr(0, slash);
    if (out.organization.starts_with('.')) out.organization.clear();  // "./name"
    id.remove_prefix(slash + 1);
  }
  out.name = id;
  Parts parts = split(id);
  mark(parts, n_params);
  drop_word_sizes(parts);
  mark_basename(parts);
  out.size_label = join(
      parts, [](const Part& p) { return p.size_label; }, true);
  out.finetune = join(parts, [](const Part& p) { return p.finetune; });
  out.version = join(parts, [](const Part& p) { return p.version && !p.basename; });
  // A name alone is too ambiguous to say what its base is.
  if (!out.size_label.empty() || !out.finetune.empty() || !out.version.empty())
    out.basename = join(parts, [](const Part& p) { return p.basename; });
  return out;
}

std::string title_of_id(std::string_view id) {
  std::string out;
  while (!id.empty()) {
    const size_t end = std::min(id.find_first_of("- \t\r\n\f\v"), id.size());
    std::string word(id.substr(0, end));
    id.remove_prefix(std::min(end + 1, id.size()));
    if (word.empty()) continue;
    const bool small = std::any_of(word.begin(), word.end(), is_lower) &&
                       std::none_of(word.begin(), word.end(), is_upper);
    const bool version = is_digit(word[0]) || (word[0] == 'v' && is_version(word));
    if (small && !version)
      for (size_t i = 0; i < word.size(); ++i)
        if (i == 0 || !is_letter(word[i - 1])) word[i] = upper(word[i]);
    out += (out.empty() ? "" : " ") + word;
  }
  return out;
}

std::string size_label(uint64_t n_shared, uint64_t n_expert, uint64_t n_experts) {
  constexpr std::pair<double, char> kUnits[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
  const double n = static_cast<double>(n_shared + n_expert);
  const auto* unit =
      std::find_if(std::begin(kUnits), std::end(kUnits) - 1, [&](auto u) { return n > u.first; });
  const double scaled = n * (1 / unit->first);
  // Two digits at least.
  const double whole = std::nearbyint(scaled);
  const int n_decimals = whole >= 10 ? 0 : whole >= 1 ? 1 : 2;
  const std::string label = fmt::format("{:.{}f}{}", scaled, n_decimals, unit->second);
  return n_experts ? fmt::format("{}x{}", n_experts, label) : label;
}

}  // namespace phiquant::format
