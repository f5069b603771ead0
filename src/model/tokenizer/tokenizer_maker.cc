#include "model/tokenizer/tokenizer_maker.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "core/text.h"
#include "core/utf8.h"
#include "model/tokenizer/pre_tokenizers.h"
#include "model/tokenizer/vocabulary_files.h"

namespace phiquant {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kSpaceSign = "\xE2\x96\x81";

class TokenizerMaker {
 public:
  TokenizerMaker(const Vocabulary& vocabulary, uint64_t context)
      : v_(vocabulary), context_(context), spm_(vocabulary.kind == VocabularyKind::spm) {}
  Result<std::vector<TokenizerFile>> run();

 private:
  bool is_added(size_t id) const {
    return v_.types[id] == PieceType::control || v_.types[id] == PieceType::user_defined ||
           v_.types[id] == PieceType::unknown;
  }
  bool is_special(size_t id) const { return v_.types[id] != PieceType::user_defined; }
  bool adds(SpecialToken token) const {
    return v_.find(token) && std::any_of(v_.added.begin(), v_.added.end(), [&](const auto& a) {
             return a.first == token && a.second;
           });
  }
  json pre_tokenizer() const;
  json post_processor() const;
  json decoder() const;
  json added_tokens() const;
  json merges() const;
  json model() const;
  json tokenizer() const;
  json config() const;

  const Vocabulary& v_;
  uint64_t context_;
  bool spm_;
};

json TokenizerMaker::pre_tokenizer() const {
  if (spm_) return nullptr;
  const auto byte_level = [](bool use_regex) {
    return json{{"type", "ByteLevel"},
                {"add_prefix_space", false},
                {"trim_offsets", true},
                {"use_regex", use_regex}};
  };
  const std::string_view pattern = pattern_of_pre_tokenizer(v_.pre_tokenizer);
  if (pattern == byte_level_pattern()) return byte_level(true);
  const json split = {{"type", "Split"},
                      {"pattern", {{"Regex", pattern}}},
                      {"behavior", "Removed"},
                      {"invert", true}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, byte_level(false)}}};
}

// What stands around a text: bos and eos where they are added.
json TokenizerMaker::post_processor() const {
  json single = json::array(), specials = json::object();
  const auto put = [&](SpecialToken token) {
    if (!adds(token)) return;
    const uint32_t id = *v_.find(token);
    const std::string& text = v_.pieces[id];
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    specials[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
  };
  put(SpecialToken::bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  put(SpecialToken::eos);
  json pair = single;
  for (json item : single) {
    item.front()["type_id"] = 1;
    if (item.contains("Sequence")) item.front()["id"] = "B";
    pair.push_back(std::move(item));
  }
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", specials}};
}

json TokenizerMaker::decoder() const {
  if (!spm_)
    return {{"type", "ByteLevel"},
            {"add_prefix_space", true},
            {"trim_offsets", true},
            {"use_regex", true}};
  json steps = {{{"type", "Replace"}, {"pattern", {{"String", kSpaceSign}}}, {"content", " "}},
                {{"type", "ByteFallback"}},
                {{"type", "Fuse"}}};
  if (v_.add_space_prefix)
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

json TokenizerMaker::added_tokens() const {
  json list = json::array();
  for (size_t id = 0; id < v_.pieces.size(); ++id)
    if (is_added(id))
      list.push_back({{"id", id},
                      {"content", v_.pieces[id]},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", is_special(id)}});
  return list;
}

// The two parts of every cut of every piece that are pieces too; the best score first. As
// transformers makes them of a sentencepiece model.
json TokenizerMaker::merges() const {
  json list = json::array();
  if (!spm_) {
    for (const std::string& merge : v_.merges) {
      const size_t space = merge.find(' ', 1);
      list.push_back({merge.substr(0, space), merge.substr(space + 1)});
    }
    return list;
  }
  struct Merge {
    float score;
    size_t left, right;
  };
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < v_.pieces.size(); ++id)
    if (v_.types[id] != PieceType::unused) ids.emplace(v_.pieces[id], id);
  std::vector<Merge> found;
  for (size_t id = 0; id < v_.pieces.size(); ++id) {
    if (v_.types[id] != PieceType::normal) continue;
    const std::string_view text = v_.pieces[id];
    const size_t first = found.size();
    for (size_t at = utf8_size(text); at > 0 && at < text.size();) {
      const auto left = ids.find(text.substr(0, at)), right = ids.find(text.substr(at));
      if (left != ids.end() && right != ids.end())
        found.push_back({v_.scores[id], left->second, right->second});
      const size_t n = utf8_size(text.substr(at));
      if (n == 0) break;
      at += n;
    }
    std::sort(found.begin() + static_cast<ptrdiff_t>(first), found.end(),
              [](const Merge& a, const Merge& b) {
                return std::pair(a.left, a.right) < std::pair(b.left, b.right);
              });
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Merge& a, const Merge& b) { return a.score > b.score; });
  for (const Merge& merge : found) list.push_back({v_.pieces[merge.left], v_.pieces[merge.right]});
  return list;
}

json TokenizerMaker::model() const {
  json vocab = json::object();
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t id = 0; id < v_.pieces.size(); ++id)
    if (v_.types[id] != PieceType::unused && seen.emplace(v_.pieces[id], id).second)
      vocab.get_ref<json::object_t&>().push_back({v_.pieces[id], id});
  const auto unk = v_.find(SpecialToken::unk);
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", spm_ && unk ? json(v_.pieces[*unk]) : json()},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", spm_},
          {"byte_fallback", spm_},
          {"ignore_merges", v_.pre_tokenizer == kPreLlama3},
          {"vocab", std::move(vocab)},
          {"merges", merges()}};
}

json TokenizerMaker::tokenizer() const {
  json normalizer;
  if (spm_) {
    json steps = json::array();
    if (v_.add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceSign}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceSign}});
    normalizer = {{"type", "Sequence"}, {"normalizers", steps}};
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens()},
          {"normalizer", normalizer},
          {"pre_tokenizer", pre_tokenizer()},
          {"post_processor", post_processor()},
          {"decoder", decoder()},
          {"model", model()}};
}

json TokenizerMaker::config() const {
  json out = {{"add_bos_token", adds(SpecialToken::bos)},
              {"add_eos_token", adds(SpecialToken::eos)},
              {"add_prefix_space", false},
              {"added_tokens_decoder", json::object()}};
  if (spm_) out.erase("add_prefix_space");
  for (size_t id = 0; id < v_.pieces.size(); ++id)
    if (is_added(id))
      out["added_tokens_decoder"].get_ref<json::object_t&>().push_back(
          {std::to_string(id), json{{"content", v_.pieces[id]},
                                    {"lstrip", false},
                                    {"normalized", false},
                                    {"rstrip", false},
                                    {"single_word", false},
                                    {"special", is_special(id)}}});
  for (const SpecialToken token :
       {SpecialToken::bos, SpecialToken::eos, SpecialToken::pad, SpecialToken::unk})
    if (const auto id = v_.find(token))
      out[fmt::format("{}_token", special_token_name(token))] = v_.pieces[*id];
  if (v_.chat_template) out["chat_template"] = *v_.chat_template;
  out["clean_up_tokenization_spaces"] = false;
  if (spm_) out["legacy"] = false;
  out["model_max_length"] = context_;
  // GPT2Tokenizer brings GPT-2's pattern with it, whatever tokenizer.json says (transformers 5).
  const bool cuts_as_gpt2 =
      !spm_ && pattern_of_pre_tokenizer(v_.pre_tokenizer) == byte_level_pattern();
  out["tokenizer_class"] = spm_           ? "LlamaTokenizer"
                           : cuts_as_gpt2 ? "GPT2Tokenizer"
                                          : "PreTrainedTokenizerFast";
  return out;
}

Result<std::vector<TokenizerFile>> TokenizerMaker::run() {
  if (!spm_ && pattern_of_pre_tokenizer(v_.pre_tokenizer).empty())
    return Error{Errc::unsupported,
                 fmt::format("pre-tokenizer '{}' is not known (gpt-2, phi-2, gpt-4o, dbrx, "
                             "llama-bpe, qwen2 are)",
                             printable(v_.pre_tokenizer))};
  // A vocabulary is not UTF-8 throughout where its maker did not care. One line: Phi-4's lists have
  // 400,000 entries.
  constexpr auto kMend = json::error_handler_t::replace;
  return std::vector<TokenizerFile>{
      {"tokenizer.json", tokenizer().dump(-1, ' ', false, kMend) + "\n"},
      {"tokenizer_config.json", config().dump(2, ' ', false, kMend) + "\n"}};
}

}  // namespace

Result<std::vector<TokenizerFile>> make_tokenizer_files(const Vocabulary& vocabulary,
                                                        uint64_t context) {
  return TokenizerMaker(vocabulary, context).run();
}

Result<std::vector<TokenizerFile>> missing_tokenizer_files(const Checkpoint& checkpoint) {
  PHIQUANT_ASSIGN(const std::string tiktoken, known_tiktoken(checkpoint));
  if (tiktoken.empty()) return std::vector<TokenizerFile>();
  PHIQUANT_ASSIGN(const Vocabulary vocabulary, read_vocabulary(checkpoint));
  return make_tokenizer_files(vocabulary, checkpoint.decoder.context);
}

Result<MadeTokenizer> make_tokenizer(const Checkpoint& checkpoint) {
  MadeTokenizer made;
  if (!checkpoint.has_inner_tokenizer) {
    PHIQUANT_ASSIGN(made.files, missing_tokenizer_files(checkpoint));
    return made;
  }
  const auto vocabulary = checkpoint.vocabulary();
  auto files = vocabulary ? make_tokenizer_files(*vocabulary, checkpoint.decoder.context)
                          : Result<std::vector<TokenizerFile>>(vocabulary.error());
  if (files)
    made.files = std::move(*files);
  else
    made.warning = fmt::format(
        "no tokenizer could be made of the GGUF file's vocabulary (copy tokenizer.json and "
        "tokenizer_config.json of the original model into the output): {}",
        files.error().message);
  return made;
}

}  // namespace phiquant
