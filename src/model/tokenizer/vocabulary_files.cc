#include "model/tokenizer/vocabulary_files.h"

#include <algorithm>
#include <charconv>

#include <fmt/core.h>

#include "core/input_file.h"
#include "core/text.h"
#include "model/checkpoint/json_reader.h"

namespace phiquant {
namespace {

constexpr uint64_t kMaxFileBytes = 200'000'000;

using json = nlohmann::json;

const std::filesystem::path* find_sidecar(const Checkpoint& checkpoint, std::string_view name) {
  const auto it = std::find_if(checkpoint.sidecars.begin(), checkpoint.sidecars.end(),
                               [&](const auto& path) { return path.filename() == name; });
  return it == checkpoint.sidecars.end() ? nullptr : &*it;
}

const json* member(const json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

bool is_true(const json& object, std::string_view key) {
  const json* value = member(object, key);
  return value && value->is_boolean() && value->get<bool>();
}

Result<void> read_added(TokenizerFiles& files) {
  const json* list = member(files.tree->rest, "added_tokens");
  if (!list) return {};
  const std::string where = files.where("tokenizer.json");
  if (!list->is_array()) return Error{Errc::corrupt, where + ": added_tokens is not a list"};
  for (const json& entry : *list) {
    const json* id = member(entry, "id");
    const json* text = member(entry, "content");
    if (!id || !id->is_number_unsigned() || !text || !text->is_string())
      return Error{Errc::corrupt, where + ": an entry of added_tokens has no content or no id"};
    files.added.push_back(
        {id->get<uint64_t>(), text->get<std::string>(), is_true(entry, "special")});
  }
  return {};
}

Result<void> read_configured(TokenizerFiles& files) {
  const json* map = member(files.config, "added_tokens_decoder");
  if (!map) return {};
  const std::string where = files.where("tokenizer_config.json");
  if (!map->is_object())
    return Error{Errc::corrupt, where + ": added_tokens_decoder is not an object"};
  for (const auto& [key, entry] : map->items()) {
    uint64_t id = 0;
    const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), id);
    const json* text = member(entry, "content");
    if (problem != std::errc() || end != key.data() + key.size() || !text || !text->is_string())
      return Error{Errc::corrupt,
                   fmt::format("{}: added_tokens_decoder: '{}' is not an id with a content", where,
                               printable(key))};
    files.configured.push_back({id, text->get<std::string>(), is_true(entry, "special")});
  }
  // Keys are sorted as texts there.
  std::sort(files.configured.begin(), files.configured.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return {};
}

}  // namespace

std::string TokenizerFiles::where(std::string_view name) const {
  return (checkpoint->folder / name).string();
}

bool TokenizerFiles::has(std::string_view name) const {
  return find_sidecar(*checkpoint, name) != nullptr;
}

Result<std::string> TokenizerFiles::text(std::string_view name) const {
  std::string out;
  const auto* path = find_sidecar(*checkpoint, name);
  if (!path) return out;
  PHIQUANT_ASSIGN(const auto file, InputFile::open(*path));
  if (file->size_bytes() > kMaxFileBytes)
    return Error{Errc::unsupported, fmt::format("{}: {} bytes; at most {} are read", path->string(),
                                                file->size_bytes(), kMaxFileBytes)};
  out.resize(file->size_bytes());
  PHIQUANT_TRY(file->read(0, std::as_writable_bytes(std::span(out))));
  return out;
}

Result<json> TokenizerFiles::json(std::string_view name) const {
  if (!has(name)) return nlohmann::json();
  PHIQUANT_ASSIGN(const std::string bytes, text(name));
  PHIQUANT_ASSIGN(auto value, parse_json(where(name), bytes));
  if (!value.is_object())
    return Error{Errc::corrupt, fmt::format("{}: not a JSON object", where(name))};
  return value;
}

std::optional<std::string> TokenizerFiles::special_text(std::string_view key) const {
  const auto* value = member(config, key);
  if (value && value->is_object()) value = member(*value, "content");
  if (!value || !value->is_string()) return std::nullopt;
  return value->get<std::string>();
}

Result<TokenizerFiles> open_tokenizer_files(const Checkpoint& checkpoint) {
  TokenizerFiles files;
  files.checkpoint = &checkpoint;
  PHIQUANT_ASSIGN(files.config, files.json("tokenizer_config.json"));
  if (files.has("tokenizer.json")) {
    PHIQUANT_ASSIGN(const std::string text, files.text("tokenizer.json"));
    PHIQUANT_ASSIGN(files.tree, read_tokenizer_tree(files.where("tokenizer.json"), text));
    PHIQUANT_TRY(read_added(files));
  }
  PHIQUANT_TRY(read_configured(files));
  find_tiktoken(files);
  return files;
}

bool is_byte_level(const TokenizerFiles& files) {
  if (!files.tree) return false;
  const json* model = member(files.tree->rest, "model");
  const json* decoder = member(files.tree->rest, "decoder");
  if (!model || !decoder || is_true(*model, "byte_fallback")) return false;
  const json* steps = member(*decoder, "decoders");
  const json one = steps && steps->is_array() ? *steps : json::array({*decoder});
  return std::any_of(one.begin(), one.end(), [](const json& step) {
    const json* type = member(step, "type");
    return type && *type == "ByteLevel";
  });
}

Error beyond_vocabulary(const std::string& where, const AddedToken& token, size_t n) {
  return {Errc::corrupt, fmt::format("{}: token '{}' has id {}, the model has {} (the tokenizer of "
                                     "another model?)",
                                     where, printable(token.text), token.id, n)};
}

}  // namespace phiquant
