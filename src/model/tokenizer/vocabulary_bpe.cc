// Byte-level BPE vocabularies: from tokenizer.json, or from vocab.json and merges.txt.
#include <algorithm>
#include <string_view>
#include <unordered_map>

#include <fmt/core.h>

#include "core/text.h"
#include "model/tokenizer/pre_tokenizers.h"
#include "model/tokenizer/vocabulary_files.h"

namespace phiquant {
namespace {

using json = nlohmann::json;
using Ids = std::unordered_map<std::string_view, uint64_t>;

std::string without_possessives(std::string_view regex) {
  std::string out;
  for (const char c : regex)
    if (c != '+' || out.empty() || (out.back() != '+' && out.back() != '?' && out.back() != '*'))
      out += c;
  return out;
}

bool is_true(const json& step, const char* key) { return step.value(key, json()) == true; }

// The pattern that cuts the text: of the Split step, or of ByteLevel itself, which is GPT-2's. ""
// where there is none.
std::string pattern_of(const json& rest) {
  const auto it = rest.find("pre_tokenizer");
  if (it == rest.end() || !it->is_object()) return {};
  const auto list = it->find("pretokenizers");
  const json steps = list != it->end() && list->is_array() ? *list : json::array({*it});
  for (const json& step : steps) {
    if (!step.is_object()) continue;
    const json type = step.value("type", json());
    if (type == "Split") {
      const auto pattern = step.find("pattern");
      if (pattern == step.end() || !pattern->is_object()) return {};
      const json regex = pattern->value("Regex", json());
      return regex.is_string() ? without_possessives(regex.get<std::string>()) : std::string();
    }
    if (type == "ByteLevel" && (!step.contains("use_regex") || is_true(step, "use_regex")))
      return std::string(byte_level_pattern());
  }
  return {};
}

// Phi-2's is GPT-2's with runs of spaces among the added tokens; llama.cpp treats both alike.
bool has_runs_of_spaces(const std::vector<AddedToken>& added) {
  return std::any_of(added.begin(), added.end(), [](const AddedToken& token) {
    return token.text.size() > 1 && token.text.find_first_not_of(' ') == std::string::npos;
  });
}

Result<std::string> name_pre_tokenizer(const TokenizerFiles& files,
                                       const std::vector<AddedToken>& added) {
  std::string_view name =
      kPreGpt2;  // of vocab.json and merges.txt: there is no other with these files
  if (files.tree) {
    const std::string pattern = pattern_of(files.tree->rest);
    const auto known = pre_tokenizers();
    const auto row = std::find_if(known.begin(), known.end(),
                                  [&](const PreTokenizer& p) { return p.regex == pattern; });
    if (row == known.end())
      return Error{
          Errc::unsupported,
          fmt::format("{}: pre_tokenizer '{}' is none that llama.cpp has under a name known "
                      "here (gpt-2, phi-2, gpt-4o, dbrx, llama-bpe, qwen2)",
                      files.where("tokenizer.json"), printable(pattern))};
    name = row->name;
    // Llama 3's is the same but for words that are tokens as a whole, which need no merges.
    const json model = files.tree->rest.value("model", json::object());
    if (name == kPreDbrx && model.is_object() && is_true(model, "ignore_merges")) name = kPreLlama3;
  }
  return std::string(name == kPreGpt2 && has_runs_of_spaces(added) ? kPrePhi2 : name);
}

bool looks_special(std::string_view text) {
  // The second pair has U+FF5C for the bar.
  return (text.starts_with("<|") && text.ends_with("|>")) ||
         (text.starts_with("<\xEF\xBD\x9C") && text.ends_with("\xEF\xBD\x9C>")) ||
         (text.starts_with("<unused") && text.ends_with(">")) || text == "<pad>" ||
         text == "<mask>";
}

// sentencepiece's sign for a space, as the converter does it for tokens that users defined.
std::string with_spaces(std::string text) {
  constexpr std::string_view kSign = "\xE2\x96\x81";
  for (size_t at = 0; (at = text.find(kSign, at)) != std::string::npos; ++at)
    text.replace(at, kSign.size(), 1, ' ');
  return text;
}

using Vocab = std::vector<std::pair<std::string, uint64_t>>;

Result<Vocab> read_vocab_file(const TokenizerFiles& files) {
  PHIQUANT_ASSIGN(const json map, files.json("vocab.json"));
  Vocab vocab;
  for (const auto& [text, id] : map.items()) {
    if (!id.is_number_unsigned())
      return Error{Errc::corrupt, fmt::format("{}: token '{}': its id is not a whole number from 0",
                                              files.where("vocab.json"), printable(text))};
    vocab.emplace_back(text, id.get<uint64_t>());
  }
  return vocab;
}

Result<std::vector<std::string>> read_merges_file(const TokenizerFiles& files) {
  PHIQUANT_ASSIGN(const std::string text, files.text("merges.txt"));
  std::vector<std::string> merges;
  size_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    // "#version: 0.2"; a '#' further down is a merge.
    if (line.empty() || (number++ == 0 && line.starts_with('#'))) continue;
    const size_t space = line.find(' ');
    if (space == 0 || space + 1 >= line.size() || space == std::string_view::npos ||
        line.find(' ', space + 1) != std::string_view::npos)
      return Error{Errc::corrupt, fmt::format("{}: '{}' is not two parts with a space between",
                                              files.where("merges.txt"), printable(line))};
    merges.emplace_back(line);
  }
  return merges;
}

// added_tokens.json: {"<|end|>": 200020}
Result<std::vector<AddedToken>> read_added_file(const TokenizerFiles& files) {
  PHIQUANT_ASSIGN(const json map, files.json("added_tokens.json"));
  std::vector<AddedToken> added;
  if (!map.is_object()) return added;
  for (const auto& [text, id] : map.items()) {
    if (!id.is_number_unsigned())
      return Error{Errc::corrupt, fmt::format("{}: token '{}': its id is not a whole number from 0",
                                              files.where("added_tokens.json"), printable(text))};
    added.push_back({id.get<uint64_t>(), text, false});
  }
  return added;
}

// Added tokens of all files; what tokenizer_config.json says of one wins, as in transformers, and
// so does being named there as bos, eos, ...
Result<std::vector<AddedToken>> all_added(const TokenizerFiles& files, const Ids& ids) {
  std::vector<AddedToken> added = files.added;
  if (!files.tree) {
    PHIQUANT_ASSIGN(added, read_added_file(files));
  }
  added.insert(added.end(), files.configured.begin(), files.configured.end());
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                          "cls_token", "mask_token"}) {
    const auto text = files.special_text(key);
    if (!text) continue;
    const auto same = [&](const AddedToken& token) { return token.text == *text; };
    const auto it = std::find_if(added.begin(), added.end(), same);
    if (it != added.end())
      added.push_back({it->id, *text, true});
    else if (const auto own = ids.find(*text); own != ids.end())
      added.push_back({own->second, *text, true});
  }
  return added;
}

Result<void> put_added(const TokenizerFiles& files, const std::vector<AddedToken>& added,
                       const Ids& ids, Vocabulary& out) {
  const std::string where = files.where(files.tree ? "tokenizer.json" : "added_tokens.json");
  for (const AddedToken& token : added) {
    if (token.id >= out.pieces.size()) return beyond_vocabulary(where, token, out.pieces.size());
    if (const auto own = ids.find(token.text); own != ids.end() && own->second != token.id)
      return Error{Errc::corrupt,
                   fmt::format("{}: added token '{}' has id {}, the vocabulary says {}", where,
                               printable(token.text), token.id, own->second)};
    const bool control = token.special || looks_special(token.text);
    out.pieces[token.id] = control ? token.text : with_spaces(token.text);
    out.types[token.id] = control ? PieceType::control : PieceType::user_defined;
  }
  return {};
}

}  // namespace

Result<void> read_bpe_pieces(const TokenizerFiles& files, Vocabulary& out) {
  out.kind = VocabularyKind::bpe;
  const std::string where = files.where(files.tree ? "tokenizer.json" : "vocab.json");
  Vocab from_file;
  if (!files.tree) {
    PHIQUANT_ASSIGN(from_file, read_vocab_file(files));
  }
  const Vocab& vocab = files.tree ? files.tree->vocab : from_file;
  Ids ids;
  ids.reserve(vocab.size());
  for (const auto& [text, id] : vocab) {
    if (id >= out.pieces.size())
      return beyond_vocabulary(where, {id, text, false}, out.pieces.size());
    if (out.types[id] != PieceType::unused)
      return Error{Errc::corrupt, fmt::format("{}: tokens '{}' and '{}' have the same id {}", where,
                                              printable(out.pieces[id]), printable(text), id)};
    out.pieces[id] = text;
    out.types[id] = PieceType::normal;
    ids.emplace(text, id);
  }
  PHIQUANT_ASSIGN(const auto added, all_added(files, ids));
  PHIQUANT_ASSIGN(out.pre_tokenizer, name_pre_tokenizer(files, added));
  PHIQUANT_TRY(put_added(files, added, ids, out));
  if (files.tree) out.merges = files.tree->merges;
  if (out.merges.empty()) {
    PHIQUANT_ASSIGN(out.merges, read_merges_file(files));
  }
  if (out.merges.empty())
    return Error{Errc::corrupt,
                 where + ": a BPE vocabulary without merges (is merges.txt missing?)"};
  return {};
}

}  // namespace phiquant
