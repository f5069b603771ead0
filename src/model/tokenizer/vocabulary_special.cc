// Which tokens begin, end and pad a text, and the chat template.
// Source: llama.cpp b11434, gguf-py/gguf/vocab.py, SpecialVocab.
#include <algorithm>
#include <map>

#include <fmt/core.h>

#include "core/text.h"
#include "model/tokenizer/vocabulary_files.h"

namespace phiquant {
namespace {

using json = nlohmann::json;

class SpecialReader {
 public:
  SpecialReader(const TokenizerFiles& files, Vocabulary& out) : files_(files), out_(out) {
    for (const SpecialToken token : order_)
      if (auto text = files.special_text(key(token))) texts_[token] = std::move(*text);
  }
  Result<void> run();

 private:
  static std::string key(SpecialToken token) {
    return fmt::format("{}_token", special_token_name(token));
  }
  bool is(SpecialToken token, const std::string& text) const {
    const auto it = texts_.find(token);
    return it != texts_.end() && it->second == text;
  }
  bool says_added(SpecialToken token) const {
    return std::any_of(out_.added.begin(), out_.added.end(),
                       [&](const auto& known) { return known.first == token; });
  }
  void set_added(SpecialToken token, bool value);
  void set_id(SpecialToken token, const json& id);
  void read_post_processor();
  void read_template(const json& processor);
  void take_last(const std::string& last);
  void read_separator(const json& pair, bool has_first, const std::string& last);
  void read_config();
  void read_ids_of_config();
  Result<void> read_chat_template();

  const TokenizerFiles& files_;
  Vocabulary& out_;
  std::vector<SpecialToken> order_ = {SpecialToken::bos, SpecialToken::eos, SpecialToken::unk,
                                      SpecialToken::sep, SpecialToken::pad, SpecialToken::cls,
                                      SpecialToken::mask};
  std::map<SpecialToken, std::string> texts_;
};

void SpecialReader::set_added(SpecialToken token, bool value) {
  for (auto& [known, is_added] : out_.added)
    if (known == token) {
      is_added = value;
      return;
    }
  out_.added.emplace_back(token, value);
}

// The first id stated for a kind is the one.
void SpecialReader::set_id(SpecialToken token, const json& id) {
  if (!id.is_number_unsigned() || id.get<uint64_t>() >= out_.pieces.size()) return;
  if (!out_.find(token)) out_.special.emplace_back(token, id.get<uint32_t>());
}

// {"SpecialToken": {"id": "<s>"}} or {"Sequence": {"id": "A"}}; "" for the other kind.
std::string item_id(const json& item, const char* kind) {
  if (!item.is_object()) return {};
  const auto it = item.find(kind);
  if (it == item.end() || !it->is_object()) return {};
  const json id = it->value("id", json());
  return id.is_string() ? id.get<std::string>() : std::string();
}

void SpecialReader::read_post_processor() {
  const json& rest = files_.tree->rest;
  const auto post = rest.find("post_processor");
  if (post == rest.end() || !post->is_object()) return;
  const auto list = post->find("processors");
  const json all = list != post->end() && list->is_array() ? *list : json::array({*post});
  for (const json& processor : all)
    if (processor.is_object() && processor.value("type", json()) == "TemplateProcessing")
      read_template(processor);
}

// A template that ends with another token than eos: that one is eos, and the stated one ends turns.
void SpecialReader::take_last(const std::string& last) {
  const auto eos = texts_.find(SpecialToken::eos);
  if (!files_.config.is_null() && !is(SpecialToken::eos, last)) {
    const bool has_eot = std::find(order_.begin(), order_.end(), SpecialToken::eot) != order_.end();
    const SpecialToken spare = has_eot ? SpecialToken::eom : SpecialToken::eot;
    if (eos != texts_.end() && std::find(order_.begin(), order_.end(), spare) == order_.end()) {
      order_.push_back(spare);
      texts_[spare] = eos->second;
    }
  }
  texts_[SpecialToken::eos] = last;
  set_added(SpecialToken::eos, true);
}

void SpecialReader::read_template(const json& processor) {
  const json single = processor.value("single", json::array());
  std::string first, last;
  if (single.is_array() && single.size() > 1) {
    first = item_id(single.front(), "SpecialToken");
    if (!first.empty()) {
      if (files_.config.is_null()) texts_[SpecialToken::bos] = first;
      set_added(SpecialToken::bos, is(SpecialToken::bos, first) || is(SpecialToken::cls, first));
    }
    last = item_id(single.back(), "SpecialToken");
    if (!last.empty()) take_last(last);
  }
  read_separator(processor.value("pair", json::array()), !first.empty(), last);
}

// A [separator] B: whether pairs of texts get one.
void SpecialReader::read_separator(const json& pair, bool has_first, const std::string& last) {
  if (!pair.is_array() || pair.empty()) return;
  size_t begin = 0, end = pair.size();
  if (has_first && !item_id(pair.front(), "SpecialToken").empty()) ++begin;
  if (!last.empty() && item_id(pair.back(), "SpecialToken") == last) --end;
  if (begin + 2 >= end || item_id(pair[begin], "Sequence") != "A" ||
      item_id(pair[end - 1], "Sequence") != "B")
    return;
  const auto separates = [&](const json& item) {
    const std::string id = item_id(item, "SpecialToken");
    return !id.empty() && (is(SpecialToken::sep, id) || is(SpecialToken::eos, id));
  };
  const bool adds = (separates(pair[begin + 1]) && last.empty()) ||
                    (end - begin == 4 && separates(pair[begin + 2]));
  set_added(SpecialToken::sep, adds);
  if (adds && !texts_.contains(SpecialToken::sep))
    texts_[SpecialToken::sep] = texts_[SpecialToken::eos];
}

void SpecialReader::read_config() {
  for (const SpecialToken token : order_) {
    const auto add = files_.config.find("add_" + key(token));
    if (add != files_.config.end() && add->is_boolean()) set_added(token, add->get<bool>());
    const auto text = texts_.find(token);
    if (text == texts_.end()) continue;
    const auto it =
        std::find_if(files_.added.begin(), files_.added.end(),
                     [&](const AddedToken& known) { return known.text == text->second; });
    if (it != files_.added.end()) set_id(token, it->id);
  }
}

// Ids below zero stand for "none" in some files.
void SpecialReader::read_ids_of_config() {
  const json config = json::parse(files_.checkpoint->config_json, nullptr, false);
  if (!config.is_object()) return;  // never: it has been read before
  const auto text_config = config.find("text_config");
  for (const SpecialToken token : order_) {
    const std::string name = key(token) + "_id";
    json id = config.value(name, json());
    if (id.is_null() && text_config != config.end() && text_config->is_object())
      id = text_config->value(name, json());
    set_id(token, id);
  }
}

// chat_template.jinja or .json give way to tokenizer_config.json's.
Result<void> SpecialReader::read_chat_template() {
  json value = files_.config.value("chat_template", json());
  if (value.is_null() && files_.has("chat_template.jinja")) {
    PHIQUANT_ASSIGN(value, files_.text("chat_template.jinja"));
  } else if (value.is_null() && files_.has("chat_template.json")) {
    PHIQUANT_ASSIGN(const json file, files_.json("chat_template.json"));
    value = file.value("chat_template", json());
  }
  if (value.is_string()) out_.chat_template = value.get<std::string>();
  if (!value.is_array()) return {};
  for (const json& choice : value) {
    if (!choice.is_object()) continue;
    const json name = choice.value("name", json()), text = choice.value("template", json());
    if (!name.is_string() || !text.is_string() || name == "") continue;
    if (name == "default")
      out_.chat_template = text.get<std::string>();
    else
      out_.named_templates.emplace_back(name.get<std::string>(), text.get<std::string>());
  }
  return {};
}

Result<void> SpecialReader::run() {
  if (files_.tree) read_post_processor();
  if (!files_.config.is_null()) {
    PHIQUANT_TRY(read_chat_template());
    read_config();
    // transformers' byte-level tokenizers add neither where nothing is said.
    if (out_.kind == VocabularyKind::bpe)
      for (const SpecialToken token : {SpecialToken::bos, SpecialToken::eos})
        if (!says_added(token)) set_added(token, false);
  }
  read_ids_of_config();
  return {};
}

}  // namespace

Result<void> read_special_tokens(const TokenizerFiles& files, Vocabulary& out) {
  return SpecialReader(files, out).run();
}

}  // namespace phiquant
