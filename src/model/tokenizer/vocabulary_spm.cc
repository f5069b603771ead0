// sentencepiece vocabularies: from tokenizer.model, or from a tokenizer.json that was made of one.
#include <algorithm>
#include <optional>

#include <fmt/core.h>

#include "core/text.h"
#include "model/tokenizer/sentencepiece.h"
#include "model/tokenizer/vocabulary_files.h"

namespace phiquant {
namespace {

// What llama.cpp's converter gives tokens that the model's list does not have a score for. Added
// tokens are found in the text before pieces are merged, so the number decides nothing.
constexpr float kPaddingScore = -10000, kAddedScore = -1000;

bool is_byte_piece(std::string_view text) {
  const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.starts_with("<0x") && hex(text[3]) && hex(text[4]) &&
         text[5] == '>';
}

void put(Vocabulary& out, size_t id, std::string text, float score, PieceType type) {
  out.pieces[id] = std::move(text);
  out.scores[id] = score;
  out.types[id] = type;
}

Result<void> take_model(const TokenizerFiles& files, Vocabulary& out) {
  const std::string where = files.where("tokenizer.model");
  PHIQUANT_ASSIGN(const std::string bytes, files.text("tokenizer.model"));
  PHIQUANT_ASSIGN(auto model, read_sentencepiece(where, bytes));
  if (model.pieces.size() > out.pieces.size())
    return beyond_vocabulary(where, {model.pieces.size() - 1, model.pieces.back().text, false},
                             out.pieces.size());
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    auto& piece = model.pieces[id];
    // User-defined pieces count as normal ones; those of Phi are in the lists of added tokens too.
    const bool user = piece.type == PieceType::user_defined;
    put(out, id, std::move(piece.text), piece.score, user ? PieceType::normal : piece.type);
  }
  out.add_space_prefix = model.add_dummy_prefix;
  return {};
}

// tokenizer.json has the pieces of the sentencepiece model in its order, which is that of falling
// scores: 0, -1, -2, ... past the special and byte pieces.
Result<void> take_tree(const TokenizerFiles& files, Vocabulary& out) {
  const std::string where = files.where("tokenizer.json");
  const auto model = files.tree->rest.find("model");
  const nlohmann::json none;
  const auto& m = model == files.tree->rest.end() ? none : *model;
  if (!m.is_object() || m.value("type", nlohmann::json()) != "BPE" ||
      m.value("byte_fallback", nlohmann::json()) != true)
    return Error{
        Errc::unsupported,
        where + ": neither byte-level BPE nor sentencepiece's BPE with bytes as a fallback"};
  const auto unknown = m.value("unk_token", nlohmann::json());
  for (const auto& [text, id] : files.tree->vocab) {
    if (id >= out.pieces.size())
      return beyond_vocabulary(where, {id, text, false}, out.pieces.size());
    if (out.types[id] != PieceType::unused)
      return Error{Errc::corrupt, fmt::format("{}: tokens '{}' and '{}' have the same id {}", where,
                                              printable(out.pieces[id]), printable(text), id)};
    put(out, id, text, 0,
        unknown == text       ? PieceType::unknown
        : is_byte_piece(text) ? PieceType::byte
                              : PieceType::normal);
  }
  std::vector<bool> is_added(out.pieces.size());
  for (const AddedToken& token : files.added)
    if (token.id < is_added.size()) is_added[token.id] = true;
  float score = -0.0f;  // sentencepiece negates the rank
  for (size_t id = 0; id < out.pieces.size(); ++id)
    if (out.types[id] == PieceType::normal && !is_added[id]) out.scores[id] = score--;
  return {};
}

Result<void> take_added(const std::string& where, const std::vector<AddedToken>& tokens,
                        Vocabulary& out) {
  for (const AddedToken& token : tokens) {
    if (token.id >= out.pieces.size()) return beyond_vocabulary(where, token, out.pieces.size());
    put(out, token.id, token.text, kAddedScore,
        token.special ? PieceType::control : PieceType::user_defined);
  }
  return {};
}

// added_tokens.json: {"<|end|>": 32007}; ids beyond the vocabulary are left out, as the converter
// does.
Result<void> take_added_file(const TokenizerFiles& files, Vocabulary& out) {
  PHIQUANT_ASSIGN(const auto map, files.json("added_tokens.json"));
  if (!map.is_object()) return {};
  for (const auto& [text, id] : map.items()) {
    if (!id.is_number_unsigned())
      return Error{Errc::corrupt, fmt::format("{}: token '{}': its id is not a whole number from 0",
                                              files.where("added_tokens.json"), printable(text))};
    if (id.get<uint64_t>() < out.pieces.size())
      put(out, id.get<uint64_t>(), text, kAddedScore, PieceType::user_defined);
  }
  return {};
}

// Whether the normalizer, or the Metaspace step that newer files have instead, puts a space first.
bool puts_space_first(const nlohmann::json& rest) {
  for (const char* key : {"normalizer", "pre_tokenizer"}) {
    const auto it = rest.find(key);
    if (it == rest.end() || !it->is_object()) continue;
    const char* list = it->contains("normalizers") ? "normalizers" : "pretokenizers";
    const auto steps = it->find(list);
    const auto all =
        steps != it->end() && steps->is_array() ? *steps : nlohmann::json::array({*it});
    for (const auto& step : all) {
      if (!step.is_object()) continue;
      const auto type = step.value("type", nlohmann::json());
      if (type == "Prepend") return true;
      if (type == "Metaspace") return step.value("prepend_scheme", nlohmann::json()) != "never";
    }
  }
  return false;
}

}  // namespace

Result<void> read_spm_pieces(const TokenizerFiles& files, Vocabulary& out) {
  out.kind = VocabularyKind::spm;
  out.pre_tokenizer = "default";
  out.scores.assign(out.pieces.size(), kPaddingScore);
  if (files.has("tokenizer.model")) {
    PHIQUANT_TRY(take_model(files, out));
  } else {
    PHIQUANT_TRY(take_tree(files, out));
    out.add_space_prefix = puts_space_first(files.tree->rest);
  }
  PHIQUANT_TRY(take_added_file(files, out));
  PHIQUANT_TRY(take_added(files.where("tokenizer_config.json"), files.configured, out));
  return take_added(files.where("tokenizer.json"), files.added, out);
}

}  // namespace phiquant
