// What a checkpoint's model card says about it: the front matter of README.md, YAML between two
// lines of "---".
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace phiquant {

// A text, or a mapping of texts ("name: Phi" of an entry of base_model).
struct CardEntry {
  std::string text;                           // "" for a mapping
  std::map<std::string, std::string> fields;  // empty for a text
};

struct ModelCard {
  // By key. A single value is a list of one; null, and what is nested deeper, is an empty list.
  // Numbers, dates and truth values are texts as they stand ("no" is Norwegian).
  std::map<std::string, std::vector<CardEntry>> values;
  std::vector<std::string> warnings;  // why it, or a part of it, was not read; one line each

  bool has(const std::string& key) const { return values.count(key) > 0; }
  // The texts of a key; none where it is absent.
  std::vector<std::string> texts(const std::string& key) const;
};

// Reads README.md of a folder; empty where there is none, or no front matter. Never fails, as no
// model card keeps a model from being converted: one that cannot be read, or has more than 256 KiB
// of front matter, is left out with a warning.
ModelCard read_model_card(const std::filesystem::path& folder, bool follow_symlinks);

// The same of the file's text.
//   where   the file, for warnings
ModelCard parse_model_card(const std::string& where, std::string_view text);

}  // namespace phiquant
