#include "model/tokenizer/tokenizer_check.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "core/text.h"
#include "model/checkpoint/json_reader.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer/vocabulary_files.h"

namespace phiquant {
namespace {

constexpr const char* kTokenizer = "tokenizer.json";
constexpr const char* kTokenizerConfig = "tokenizer_config.json";
constexpr std::string_view kTiktoken = ".tiktoken";
constexpr uint64_t kMaxSidecarBytes = 200'000'000;

// Copied byte for byte beside a converted model. Licences: any file whose name begins so.
constexpr std::string_view kSidecars[] = {
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
};
constexpr std::string_view kLicences[] = {"LICENSE", "LICENCE", "COPYING", "NOTICE"};

bool is_sidecar(const std::string& name) {
  if (std::find(std::begin(kSidecars), std::end(kSidecars), name) != std::end(kSidecars) ||
      name.ends_with(kTiktoken))
    return true;
  return std::any_of(std::begin(kLicences), std::end(kLicences),
                     [&](std::string_view stem) { return name.starts_with(stem); });
}

using Ids = std::vector<int64_t>;

// An id, a list of ids, or nothing.
Result<Ids> read_ids(const ConfigView* config, std::string_view key) {
  Ids ids;
  const auto* value = config ? config->find(key) : nullptr;
  if (!value) return ids;
  const auto list = value->is_array() ? *value : nlohmann::json::array({*value});
  for (const auto& item : list) {
    if (!item.is_number_integer() ||
        (item.is_number_unsigned() && item.get<uint64_t>() > INT64_MAX))
      return config->wrong(key, "a token id or a list of them");
    ids.push_back(item.get<int64_t>());
  }
  return ids;
}

std::string ids_text(const Ids& ids) {
  std::string text;
  for (const int64_t id : ids) text += fmt::format("{}{}", text.empty() ? "" : ", ", id);
  return ids.size() == 1 ? text : fmt::format("[{}]", text);
}

bool contains(const Ids& ids, int64_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

class Checker {
 public:
  Checker(CheckpointFolder& folder, const ConfigView& config, const ConfigView* generation,
          Checkpoint& out)
      : folder_(folder), config_(config), generation_(generation), out_(out) {}
  Result<void> run();

 private:
  Result<void> read_token_ids();
  Result<Ids> union_of(std::string_view key);
  Result<void> read_tokenizer_config(nlohmann::json& json);
  Result<TokenizerSummary> summarize(const nlohmann::json& tokenizer_config);
  Result<void> check_tokenizer(const nlohmann::json& tokenizer_config);
  void note_ids(const nlohmann::json& tokenizer_config, const TokenizerSummary& tokenizer);
  void check_special(const nlohmann::json& tokenizer_config, const TokenizerSummary& tokenizer);
  void check_added(const nlohmann::json& tokenizer_config, const TokenizerSummary& tokenizer);
  void warn(std::string text) { out_.warnings.push_back(std::move(text)); }

  CheckpointFolder& folder_;
  const ConfigView& config_;
  const ConfigView* generation_;
  Checkpoint& out_;
  std::string tokenizer_ = kTokenizer;  // the file that has the tokens
};

// generation_config's ids, then config's that are not among them.
Result<Ids> Checker::union_of(std::string_view key) {
  PHIQUANT_ASSIGN(Ids ids, read_ids(generation_, key));
  PHIQUANT_ASSIGN(const Ids of_config, read_ids(&config_, key));
  const auto strange = std::find_if(of_config.begin(), of_config.end(),
                                    [&](int64_t id) { return !contains(ids, id); });
  if (!ids.empty() && strange != of_config.end())
    warn(fmt::format("{} is {} in config.json and {} in generation_config.json", key,
                     ids_text(of_config), ids_text(ids)));
  for (const int64_t id : of_config)
    if (!contains(ids, id)) ids.push_back(id);
  for (const int64_t id : ids)
    if (id < 0 || id >= int64_t{out_.decoder.vocab})
      warn(fmt::format("{} {} is outside the vocabulary of {}", key, id, out_.decoder.vocab));
  return ids;
}

Result<void> Checker::read_token_ids() {
  PHIQUANT_ASSIGN(out_.tokens.eos, union_of("eos_token_id"));
  PHIQUANT_ASSIGN(const Ids bos, union_of("bos_token_id"));
  PHIQUANT_ASSIGN(const Ids pad, union_of("pad_token_id"));
  if (!bos.empty()) out_.tokens.bos = bos.front();
  if (!pad.empty()) out_.tokens.pad = pad.front();
  if (out_.tokens.eos.empty())
    warn(
        "no eos_token_id in config.json and generation_config.json: generation will not stop by "
        "itself");
  return {};
}

Result<void> Checker::read_tokenizer_config(nlohmann::json& json) {
  json = nlohmann::json::object();
  if (!folder_.has(kTokenizerConfig)) return {};
  PHIQUANT_ASSIGN(const std::string text, folder_.read_text(kTokenizerConfig, kMaxSidecarBytes));
  PHIQUANT_ASSIGN(json, parse_json(folder_.where(kTokenizerConfig), text));
  if (!json.is_object())
    return Error{Errc::corrupt,
                 fmt::format("{}: not a JSON object", folder_.where(kTokenizerConfig))};
  return {};
}

// tokenizer_config.json names tokens by their text: "<s>" or {"content": "<s>", ...}.
std::optional<std::string> token_text(const nlohmann::json& tokenizer_config,
                                      std::string_view key) {
  const auto it = tokenizer_config.find(key);
  if (it == tokenizer_config.end()) return std::nullopt;
  if (it->is_string()) return it->get<std::string>();
  if (it->is_object())
    if (const auto content = it->find("content"); content != it->end() && content->is_string())
      return content->get<std::string>();
  return std::nullopt;
}

void Checker::note_ids(const nlohmann::json& tokenizer_config, const TokenizerSummary& tokenizer) {
  const auto id_of = [&](std::string_view key) -> std::optional<int64_t> {
    const auto text = token_text(tokenizer_config, key);
    const auto it = text ? tokenizer.wanted.find(*text) : tokenizer.wanted.end();
    if (it == tokenizer.wanted.end()) return std::nullopt;
    return static_cast<int64_t>(it->second);
  };
  out_.tokens.tokenizer_bos = id_of("bos_token");
  out_.tokens.tokenizer_eos = id_of("eos_token");
  out_.tokens.tokenizer_pad = id_of("pad_token");
  for (const std::string_view tag : kTokenTags)
    if (const auto it = tokenizer.wanted.find(std::string(tag)); it != tokenizer.wanted.end())
      out_.tokens.tags.emplace(tag, static_cast<int64_t>(it->second));
}

void Checker::check_special(const nlohmann::json& tokenizer_config,
                            const TokenizerSummary& tokenizer) {
  const std::pair<const char*, Ids> stated[] = {
      {"bos_token", out_.tokens.bos ? Ids{*out_.tokens.bos} : Ids{}},
      {"eos_token", out_.tokens.eos},
      {"pad_token", out_.tokens.pad ? Ids{*out_.tokens.pad} : Ids{}},
  };
  for (const auto& [key, ids] : stated) {
    const auto text = token_text(tokenizer_config, key);
    if (!text) continue;
    const auto id = tokenizer.wanted.find(*text);
    if (id == tokenizer.wanted.end())
      warn(fmt::format("{} '{}' of tokenizer_config.json is not in {}", key, printable(*text),
                       tokenizer_));
    else if (!ids.empty() && !contains(ids, static_cast<int64_t>(id->second)))
      warn(
          fmt::format("{} of tokenizer_config.json is '{}', id {}; config.json and "
                      "generation_config.json say {}",
                      key, printable(*text), id->second, ids_text(ids)));
  }
}

void Checker::check_added(const nlohmann::json& tokenizer_config,
                          const TokenizerSummary& tokenizer) {
  const auto added = tokenizer_config.find("added_tokens_decoder");
  if (added == tokenizer_config.end() || !added->is_object()) return;
  size_t n_wrong = 0;
  std::string first;
  for (const auto& [id, token] : added->items()) {
    const auto content = token.is_object() ? token.find("content") : token.end();
    if (!token.is_object() || content == token.end() || !content->is_string()) continue;
    const auto& text = content->get_ref<const std::string&>();
    const auto there = tokenizer.added.find(text);
    if (there != tokenizer.added.end() && std::to_string(there->second) == id) continue;
    if (n_wrong++ == 0)
      first =
          fmt::format("'{}' is {} there and {}", printable(text), printable(id),
                      there == tokenizer.added.end() ? "absent" : std::to_string(there->second));
  }
  if (n_wrong)
    warn(fmt::format("tokenizer_config.json and {} disagree about {} added token{}: {} here",
                     tokenizer_, n_wrong, n_wrong > 1 ? "s" : "", first));
}

Result<TokenizerSummary> Checker::summarize(const nlohmann::json& tokenizer_config) {
  PHIQUANT_ASSIGN(const std::string text, folder_.read_text(tokenizer_, kMaxSidecarBytes));
  std::vector<std::string> wanted;
  for (const char* key : {"bos_token", "eos_token", "pad_token"})
    if (auto token = token_text(tokenizer_config, key)) wanted.push_back(std::move(*token));
  wanted.insert(wanted.end(), std::begin(kTokenTags), std::end(kTokenTags));
  if (tokenizer_ == kTokenizer) return summarize_tokenizer(folder_.where(kTokenizer), text, wanted);
  PHIQUANT_ASSIGN(const TokenizerFiles files, open_tokenizer_files(out_));
  return summarize_tiktoken(files, wanted);
}

Result<void> Checker::check_tokenizer(const nlohmann::json& tokenizer_config) {
  PHIQUANT_ASSIGN(const TokenizerSummary tokenizer, summarize(tokenizer_config));
  if (tokenizer.n_tokens > 0 && tokenizer.max_id >= out_.decoder.vocab)
    return Error{Errc::corrupt,
                 fmt::format("{}: token '{}' has id {}, config.json has vocab_size {} (the "
                             "tokenizer of another model?)",
                             folder_.where(tokenizer_), printable(tokenizer.max_token),
                             tokenizer.max_id, out_.decoder.vocab)};
  note_ids(tokenizer_config, tokenizer);
  check_special(tokenizer_config, tokenizer);
  check_added(tokenizer_config, tokenizer);
  return {};
}

Result<void> Checker::run() {
  PHIQUANT_TRY(read_token_ids());
  PHIQUANT_ASSIGN(const auto names, folder_.list());
  for (const std::string& name : names) {
    if (!is_sidecar(name)) continue;
    PHIQUANT_TRY(folder_.open(name));
    out_.sidecars.push_back(folder_.path() / name);
  }
  nlohmann::json tokenizer_config;
  PHIQUANT_TRY(read_tokenizer_config(tokenizer_config));
  if (folder_.has(kTokenizer)) return check_tokenizer(tokenizer_config);
  PHIQUANT_ASSIGN(const std::string tiktoken, known_tiktoken(out_));
  if (!tiktoken.empty()) {
    tokenizer_ = tiktoken;
    return check_tokenizer(tokenizer_config);
  }
  const bool other = folder_.has("tokenizer.model") || folder_.has("vocab.json") ||
                     std::any_of(names.begin(), names.end(),
                                 [](const std::string& name) { return name.ends_with(kTiktoken); });
  warn(fmt::format(
      "{} is missing{}", kTokenizer,
      other ? ": runtimes that need it will not encode text"
            : " and so is every other tokenizer file: the output runs, but cannot encode text"));
  return {};
}

}  // namespace

Result<void> read_tokenizer(CheckpointFolder& folder, const ConfigView& config,
                            const ConfigView* generation, Checkpoint& out) {
  return Checker(folder, config, generation, out).run();
}

}  // namespace phiquant
