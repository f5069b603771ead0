// Damaged and hostile tokenizer files: each gives one error with its exact words.
#include <limits>

#include <gtest/gtest.h>

#include "model/tokenizer/sentencepiece.h"
#include "model/tokenizer/vocabulary_folder.h"

namespace phiquant {
namespace {

using namespace test;

std::string with_model(const std::string& bytes) {
  return outcome_of({{"tokenizer.model", bytes}});
}
std::string with_json(const json& tokenizer) {
  return outcome_of({{"tokenizer.json", tokenizer.dump()}});
}

TEST(VocabularyBad, NoTokenizer) {
  EXPECT_EQ(outcome_of({}),
            "unsupported: F: no tokenizer (wanted tokenizer.json, tokenizer.model, or vocab.json "
            "with merges.txt; download them with the weights)");
  EXPECT_EQ(outcome_of({{"vocab.json", "{}"}}),
            "unsupported: F: no tokenizer (wanted tokenizer.json, tokenizer.model, or vocab.json "
            "with merges.txt; download them with the weights)");
}

TEST(VocabularyBad, SentencePieceModel) {
  const std::string in = "corrupt: F/tokenizer.model: ";
  EXPECT_EQ(with_model(""), in + "not a sentencepiece model: it has no pieces");
  const std::string whole = small_pieces().bytes;
  for (size_t n = 1; n < whole.size(); ++n)  // cut off: an error or fewer fields, never a crash
    EXPECT_NE(with_model(whole.substr(0, n)), "") << n;
  EXPECT_EQ(
      with_model(whole.substr(0, whole.size() - 1)),
      in + "not a sentencepiece model: field 2 has 2 bytes, 1 are left (incomplete download?)");
  EXPECT_EQ(with_model(SentencePieces().add("", 0).bytes), in + "piece 0 has no text");
  EXPECT_EQ(with_model(SentencePieces().add("\xC0\x80", 0).bytes),
            in + "piece 0 '\\xc0\\x80' is not UTF-8");
  EXPECT_EQ(with_model(SentencePieces().add("a", std::numeric_limits<float>::infinity()).bytes),
            in + "piece 0 'a': its score is not finite");
  EXPECT_EQ(with_model(SentencePieces().add("a", 0, 7).bytes), in + "piece 0 'a': unknown type 7");
  EXPECT_EQ(with_model(SentencePieces().add("a", 0).kind(1).bytes),
            "unsupported: F/tokenizer.model: a sentencepiece model of type 1 (known: 2, BPE)");
  SentencePieces nine;
  for (const char* text : {"a", "b", "c", "d", "e", "f", "g", "h", "i"}) nine.add(text, 0);
  EXPECT_EQ(with_model(nine.kind(2).bytes),
            in + "token 'i' has id 8, the model has 8 (the tokenizer of another model?)");
}

TEST(VocabularyBad, TokenizerJson) {
  const std::string in = "corrupt: F/tokenizer.json: ";
  EXPECT_EQ(outcome_of({{"tokenizer.json", "[]"}}), in + "not a JSON object");
  EXPECT_EQ(outcome_of({{"tokenizer.json", R"({"model": {"vocab": {"a": 0, "a": 1}}})"}}),
            in + "key 'a' occurs twice");
  EXPECT_EQ(outcome_of({{"tokenizer.json", R"({"model": {"vocab": {"a": -1}}})"}}),
            in + "token 'a': its id is not a whole number from 0");
  EXPECT_EQ(outcome_of({{"tokenizer.json", R"({"model": {"vocab": {"a": {}}}})"}}),
            in + "model.vocab holds something other than ids");
  EXPECT_EQ(
      outcome_of({{"tokenizer.json", R"({"model": {"vocab": [["a", 0]]}})"}}),
      "unsupported: F/tokenizer.json: the vocabulary has scores of its own (Unigram), which no "
      "Phi has");
  for (const char* merges : {"{}", "[1]", "[[\"a\"]]", "[[\"a\", \"\"]]", "[{}]", "[[[]]]",
                             "[\"ab\"]", "[\"a b c\"]", "[\" b\"]", "[\"a \"]"})
    EXPECT_TRUE(
        outcome_of({{"tokenizer.json", fmt::format(R"({{"model": {{"merges": {}}}}})", merges)}})
            .starts_with(in))
        << merges;
  json t = small_bpe();
  t["model"]["vocab"]["d"] = 8;
  EXPECT_EQ(with_json(t),
            in + "token 'd' has id 8, the model has 8 (the tokenizer of another model?)");
  t = small_bpe();
  t["model"]["vocab"]["d"] = 4;
  EXPECT_EQ(with_json(t), in + "tokens 'abc' and 'd' have the same id 4");
  t = small_bpe();
  t["added_tokens"][0]["id"] = 8;
  EXPECT_EQ(with_json(t),
            in + "token '<|end|>' has id 8, the model has 8 (the tokenizer of another model?)");
  t["added_tokens"][0] = {{"id", 6}, {"content", "ab"}};
  EXPECT_EQ(with_json(t), in + "added token 'ab' has id 6, the vocabulary says 3");
  t["added_tokens"][0] = {{"content", "ab"}};
  EXPECT_EQ(with_json(t), in + "an entry of added_tokens has no content or no id");
  t = small_bpe();
  t["model"]["merges"] = json::array();
  EXPECT_EQ(with_json(t), in + "a BPE vocabulary without merges (is merges.txt missing?)");
  t["decoder"] = nullptr;
  EXPECT_EQ(
      with_json(t),
      "unsupported: F/tokenizer.json: neither byte-level BPE nor sentencepiece's BPE with bytes "
      "as a fallback");
}

TEST(VocabularyBad, FilesBeside) {
  const std::string bpe = small_bpe().dump();
  EXPECT_EQ(outcome_of({{"tokenizer.json", bpe}, {"tokenizer_config.json", "[]"}}),
            "corrupt: F/tokenizer_config.json: not a JSON object");
  EXPECT_EQ(outcome_of({{"tokenizer.json", bpe},
                        {"tokenizer_config.json", R"({"added_tokens_decoder": {"5x": {}}})"}}),
            "corrupt: F/tokenizer_config.json: added_tokens_decoder: '5x' is not an id with a "
            "content");
  EXPECT_EQ(
      outcome_of(
          {{"tokenizer.model", small_pieces().bytes},
           {"tokenizer_config.json", R"({"added_tokens_decoder": {"8": {"content": "x"}}})"}}),
      "corrupt: F/tokenizer_config.json: token 'x' has id 8, the model has 8 (the tokenizer of "
      "another model?)");
  EXPECT_EQ(outcome_of({{"tokenizer.model", small_pieces().bytes},
                        {"added_tokens.json", R"({"x": "1"})"}}),
            "corrupt: F/added_tokens.json: token 'x': its id is not a whole number from 0");
  EXPECT_EQ(outcome_of({{"vocab.json", R"({"a": 0})"}, {"merges.txt", "a b c\n"}}),
            "corrupt: F/merges.txt: 'a b c' is not two parts with a space between");
}

}  // namespace
}  // namespace phiquant
