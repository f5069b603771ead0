// Byte-level BPE vocabularies out of a .tiktoken file, whose special tokens and pattern are
// constants of the Python class that tokenizer_config.json names.
#include <algorithm>
#include <unordered_map>

#include <fmt/core.h>

#include "core/text.h"
#include "model/tokenizer/phi3small_tokens.h"
#include "model/tokenizer/pre_tokenizers.h"
#include "model/tokenizer/tiktoken.h"
#include "model/tokenizer/vocabulary_files.h"

namespace phiquant {
namespace {

struct TiktokenClass {
  std::string_view name, model_type;  // the type decides where no class is named
  std::string_view file, pre_tokenizer;
  std::vector<TokenText> (*special)();
};

// cl100k_base's pattern as tokenizer.json files have it. tiktoken 0.14 has another, by which the
// space that ends a text is one piece, line ends in it or not; no token of cl100k_base begins
// before such a line end and ends after it, so that ids are the same.
constexpr TiktokenClass kClasses[] = {
    {"Phi3SmallTokenizer", "phi3small", "cl100k_base.tiktoken", kPreDbrx, phi3small_special_tokens},
};

const TiktokenClass* find_class(const TokenizerFiles& files) {
  if (files.has("tokenizer.json")) return nullptr;
  const auto stated = files.special_text("tokenizer_class");
  const auto* row =
      std::find_if(std::begin(kClasses), std::end(kClasses), [&](const TiktokenClass& c) {
        return stated ? *stated == c.name : files.checkpoint->model_type == c.model_type;
      });
  return row != std::end(kClasses) && files.has(row->file) ? row : nullptr;
}

// Special tokens that are within the vocabulary and none of the file's tokens.
Result<void> check_added(const TokenizerFiles& files, const std::vector<TiktokenToken>& tokens,
                         size_t n_vocabulary) {
  const std::string where = files.where(files.tiktoken);
  std::unordered_map<std::string_view, uint64_t> ids;
  for (const AddedToken& token : files.added) {
    if (token.id >= n_vocabulary) return beyond_vocabulary(where, token, n_vocabulary);
    if (token.id < tokens.size())
      return Error{Errc::corrupt,
                   fmt::format("{}: line {}: rank {} is the id of the special token '{}'", where,
                               tokens[token.id].line, token.id, printable(token.text))};
    if (!ids.emplace(token.text, token.id).second)
      return Error{Errc::corrupt,
                   fmt::format("{}: two ids for the special token '{}'",
                               files.where("tokenizer_config.json"), printable(token.text))};
  }
  for (const TiktokenToken& token : tokens)
    if (const auto it = ids.find(byte_level_text(token.bytes)); it != ids.end())
      return Error{Errc::corrupt, fmt::format("{}: line {}: '{}' is a special token, id {}", where,
                                              token.line, printable(it->first), it->second)};
  return {};
}

Result<std::vector<TiktokenToken>> read_tokens(const TokenizerFiles& files, size_t n_vocabulary) {
  const std::string where = files.where(files.tiktoken);
  PHIQUANT_ASSIGN(const std::string text, files.text(files.tiktoken));
  PHIQUANT_ASSIGN(auto tokens, read_tiktoken(where, text));
  if (tokens.size() > n_vocabulary)
    return beyond_vocabulary(where, {tokens.size() - 1, tokens.back().bytes, false}, n_vocabulary);
  PHIQUANT_TRY(check_added(files, tokens, n_vocabulary));
  return tokens;
}

}  // namespace

Result<std::string> known_tiktoken(const Checkpoint& checkpoint) {
  // Names first: a tokenizer.json is long, and then of no interest.
  TokenizerFiles names;
  names.checkpoint = &checkpoint;
  if (names.has("tokenizer.json") ||
      std::none_of(std::begin(kClasses), std::end(kClasses),
                   [&](const TiktokenClass& c) { return names.has(c.file); }))
    return std::string();
  PHIQUANT_ASSIGN(TokenizerFiles files, open_tokenizer_files(checkpoint));
  return std::move(files.tiktoken);
}

void find_tiktoken(TokenizerFiles& files) {
  const TiktokenClass* known = find_class(files);
  if (!known) return;
  files.tiktoken = known->file;
  files.added = files.configured;
  if (files.added.empty())
    for (TokenText& token : known->special())
      files.added.push_back({token.id, std::move(token.text), true});
}

Result<void> read_tiktoken_pieces(const TokenizerFiles& files, Vocabulary& out) {
  out.kind = VocabularyKind::bpe;
  out.pre_tokenizer = find_class(files)->pre_tokenizer;
  PHIQUANT_ASSIGN(const auto tokens, read_tokens(files, out.pieces.size()));
  for (size_t id = 0; id < tokens.size(); ++id) {
    out.pieces[id] = byte_level_text(tokens[id].bytes);
    out.types[id] = PieceType::normal;
  }
  for (const AddedToken& token : files.added) {
    out.pieces[token.id] = token.text;
    out.types[token.id] = PieceType::control;
  }
  PHIQUANT_ASSIGN(const auto merges, tiktoken_merges(files.where(files.tiktoken), tokens));
  out.merges.reserve(merges.size());
  for (const auto& [left, right] : merges)
    out.merges.push_back(fmt::format("{} {}", out.pieces[left], out.pieces[right]));
  return {};
}

Result<TokenizerSummary> summarize_tiktoken(const TokenizerFiles& files,
                                            const std::vector<std::string>& wanted) {
  PHIQUANT_ASSIGN(const auto tokens, read_tokens(files, files.checkpoint->decoder.vocab));
  TokenizerSummary out;
  const auto take = [&](uint64_t id, const std::string& text) {
    ++out.n_tokens;
    if (id >= out.max_id) {
      out.max_id = id;
      out.max_token = text;
    }
    if (std::find(wanted.begin(), wanted.end(), text) != wanted.end()) out.wanted[text] = id;
  };
  for (size_t id = 0; id < tokens.size(); ++id) take(id, byte_level_text(tokens[id].bytes));
  for (const AddedToken& token : files.added) {
    take(token.id, token.text);
    out.added[token.text] = token.id;
  }
  return out;
}

}  // namespace phiquant
