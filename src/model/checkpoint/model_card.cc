#include "model/checkpoint/model_card.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <utility>

#include <fmt/core.h>
#include <yaml-cpp/yaml.h>

#include "core/text.h"
#include "core/utf8.h"
#include "model/checkpoint/folder.h"

namespace phiquant {
namespace {

constexpr const char* kReadme = "README.md";
constexpr const char* kFence = "---";
// The library's tree takes up to 240 bytes per byte of text.
constexpr size_t kMaxBytes = 256 * 1024;
constexpr size_t kMaxEntries = 1000;  // of one list

// Without the line's end: \n, \r\n or \r.
std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find_first_of("\r\n"), text.size());
  const std::string_view line = text.substr(0, end);
  const size_t n_end = text.substr(end, 2) == "\r\n" ? 2 : 1;
  text.remove_prefix(std::min(end + n_end, text.size()));
  return line;
}

struct FrontMatter {
  std::string yaml;
  bool ends = false;
};

// The lines between the fences, or to the end where the second one is missing; nothing where the
// text does not begin with one. Tabs, which YAML forbids, are common in cards.
std::optional<FrontMatter> front_matter(std::string_view text) {
  if (take_line(text) != kFence) return std::nullopt;
  FrontMatter out;
  while (!text.empty() && !out.ends) {
    const std::string_view line = take_line(text);
    out.ends = line == kFence;
    if (out.ends) break;
    for (const char c : line) {
      if (c == '\t')
        out.yaml += "  ";
      else
        out.yaml += c;
    }
    out.yaml += '\n';
  }
  return out;
}

// The library guesses UTF-16 and UTF-32 from zero bytes and takes another byte for the file's end.
bool is_plain_text(std::string_view text) {
  return is_utf8(text) && std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) >= 0x20 || c == '\n';
         });
}

// Copies what a card can say out of the library's tree, which shares the nodes that aliases name: a
// few bytes of text may stand for gigabytes, so everything that is copied counts.
class CardReader {
 public:
  CardReader(const std::string& where, ModelCard& out) : where_(where), out_(out) {}
  // False: it says more than its text can hold.
  bool run(const YAML::Node& root);

 private:
  bool count(size_t n_bytes) {
    n_bytes_ += n_bytes + 1;
    return n_bytes_ <= kMaxBytes;
  }
  bool read_list(const std::string& key, const YAML::Node& node, std::vector<CardEntry>& entries);
  bool read_entry(const YAML::Node& node, std::vector<CardEntry>& entries);
  bool read_fields(const YAML::Node& node, std::map<std::string, std::string>& fields);

  const std::string& where_;
  ModelCard& out_;
  size_t n_bytes_ = 0;
};

bool CardReader::read_fields(const YAML::Node& node, std::map<std::string, std::string>& fields) {
  for (const auto& field : node) {
    if (!count(0)) return false;
    if (!field.first.IsScalar() || !field.second.IsScalar()) continue;
    const std::string &name = field.first.Scalar(), &text = field.second.Scalar();
    if (!count(name.size() + text.size())) return false;
    fields[name] = text;
  }
  return true;
}

bool CardReader::read_entry(const YAML::Node& node, std::vector<CardEntry>& entries) {
  CardEntry entry;
  if (node.IsScalar()) {
    if (!count(node.Scalar().size())) return false;
    entry.text = node.Scalar();
  } else if (node.IsMap() && !read_fields(node, entry.fields)) {
    return false;
  }
  entries.push_back(std::move(entry));
  return true;
}

bool CardReader::read_list(const std::string& key, const YAML::Node& node,
                           std::vector<CardEntry>& entries) {
  if (node.IsScalar()) return read_entry(node, entries);
  if (!node.IsSequence()) return true;
  if (node.size() > kMaxEntries)
    out_.warnings.push_back(fmt::format("{}: '{}' has {} entries, the first {} are taken", where_,
                                        printable(key), node.size(), kMaxEntries));
  for (const auto& item : node) {
    if (entries.size() == kMaxEntries) return true;
    if (!count(0) || !read_entry(item, entries)) return false;
  }
  return true;
}

bool CardReader::run(const YAML::Node& root) {
  for (const auto& pair : root) {
    if (!pair.first.IsScalar()) continue;
    const std::string& key = pair.first.Scalar();
    std::vector<CardEntry> entries;
    if (!count(key.size()) || !read_list(key, pair.second, entries)) return false;
    out_.values[key] = std::move(entries);  // the last of equal keys counts
  }
  return true;
}

ModelCard without(const std::string& warning) {
  ModelCard out;
  out.warnings.push_back(warning);
  return out;
}

}  // namespace

std::vector<std::string> ModelCard::texts(const std::string& key) const {
  std::vector<std::string> out;
  if (const auto it = values.find(key); it != values.end())
    for (const CardEntry& entry : it->second)
      if (!entry.text.empty()) out.push_back(entry.text);
  return out;
}

ModelCard parse_model_card(const std::string& where, std::string_view text) {
  const auto front = front_matter(text);
  if (!front) return {};
  const auto left_out = [&](const std::string& why) {
    return without(fmt::format("{}: the front matter {}, and is left out", where, why));
  };
  if (front->yaml.size() > kMaxBytes || (!front->ends && text.size() > kMaxBytes))
    return left_out(fmt::format("has more than {} bytes", kMaxBytes));
  if (!is_plain_text(front->yaml)) return left_out("is no text in UTF-8");
  try {
    const YAML::Node root = YAML::Load(front->yaml);
    if (root.IsNull()) return {};
    if (!root.IsMap()) return left_out("has no keys");
    ModelCard out;
    if (CardReader(where, out).run(root)) return out;
    return left_out(fmt::format("holds more than {} bytes through its aliases", kMaxBytes));
  } catch (const YAML::Exception& e) {
    // Lines are counted from 0, and the first one is the fence.
    return left_out(fmt::format("is no YAML (line {}: {})", e.mark.line + 2, printable(e.msg)));
  } catch (const std::exception& e) {
    return left_out(fmt::format("is no YAML ({})", printable(e.what())));
  }
}

ModelCard read_model_card(const std::filesystem::path& path, bool follow_symlinks) {
  CheckpointFolder folder(path, follow_symlinks);
  if (!folder.has(kReadme)) return {};
  const auto file = folder.open(kReadme);
  if (!file) return without(file.error().message + "; no model card is read");
  // One byte more than can be used, so that a front matter which does not end in here shows.
  std::string head(std::min<uint64_t>((*file)->size_bytes(), kMaxBytes + 1), '\0');
  if (const auto read = (*file)->read(0, std::as_writable_bytes(std::span(head))); !read)
    return without(read.error().message + "; no model card is read");
  return parse_model_card(folder.where(kReadme), head);
}

}  // namespace phiquant
