// Vocabularies of every kind of tokenizer file. That llama.cpp's converter finds the same in the
// bundled checkpoints is a test of tests/runtime.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/tokenizer/vocabulary_folder.h"

namespace phiquant {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::Pair;

constexpr auto kNormal = PieceType::normal, kUnknown = PieceType::unknown,
               kControl = PieceType::control, kUser = PieceType::user_defined,
               kUnused = PieceType::unused, kByte = PieceType::byte;

TEST(Vocabulary, SentencePiece) {
  const VocabularyFolder folder({
      {"tokenizer.model", small_pieces().bytes},
      {"added_tokens.json", R"({"<|end|>": 6, "<|beyond|>": 99})"},
      {"tokenizer_config.json",
       R"({"added_tokens_decoder": {"1": {"content": "<s>", "special": true}},
          "bos_token": "<s>", "add_bos_token": false, "chat_template": "{{ x }}"})"},
  });
  const auto v = folder.read();
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_EQ(v->kind, VocabularyKind::spm);
  EXPECT_EQ(v->pre_tokenizer, "default");
  EXPECT_TRUE(v->add_space_prefix);
  EXPECT_THAT(v->pieces, ElementsAre("<unk>", "<s>", "</s>", "<0x0A>", "a", "\xE2\x96\x81",
                                     "<|end|>", "[PAD7]"));
  EXPECT_THAT(v->types,
              ElementsAre(kUnknown, kControl, kControl, kByte, kNormal, kNormal, kUser, kUnused));
  EXPECT_THAT(v->scores, ElementsAre(0, -1000, 0, 0, 0, -1, -1000, -10000));
  EXPECT_THAT(v->added, ElementsAre(Pair(SpecialToken::bos, false)));
  // Ids come from tokenizer.json's list of added tokens or from config.json; here are neither.
  EXPECT_THAT(v->special, ElementsAre());
  EXPECT_EQ(v->chat_template, "{{ x }}");
}

TEST(Vocabulary, SentencePieceWithoutASpaceInFront) {
  SentencePieces p = small_pieces();
  p.bytes += SentencePieces::field(3, SentencePieces::number(3, 0));
  const auto v = VocabularyFolder({{"tokenizer.model", p.bytes}}).read();
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_FALSE(v->add_space_prefix);
}

TEST(Vocabulary, SentencePieceFromTokenizerJson) {
  const json tokenizer = {
      {"added_tokens", {{{"id", 1}, {"content", "<s>"}, {"special", true}}}},
      {"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}}}}}},
      {"model",
       {{"type", "BPE"},
        {"byte_fallback", true},
        {"unk_token", "<unk>"},
        {"vocab", {{"<unk>", 0}, {"<s>", 1}, {"<0x0A>", 2}, {"a", 3}, {"b", 4}}},
        {"merges", json::array()}}}};
  const auto v = VocabularyFolder({{"tokenizer.json", tokenizer.dump()}}).read();
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_EQ(v->kind, VocabularyKind::spm);
  EXPECT_TRUE(v->add_space_prefix);
  EXPECT_THAT(v->types,
              ElementsAre(kUnknown, kControl, kByte, kNormal, kNormal, kUnused, kUnused, kUnused));
  EXPECT_THAT(v->scores, ElementsAre(0, -1000, 0, 0, -1, -10000, -10000, -10000));
}

TEST(Vocabulary, ByteLevel) {
  json tokenizer = small_bpe();
  tokenizer["added_tokens"].push_back({{"id", 6}, {"content", "<|tool|>"}, {"special", false}});
  tokenizer["added_tokens"].push_back(
      {{"id", 7}, {"content", "\xE2\x96\x81x"}, {"special", false}});
  tokenizer["model"]["merges"] = json::array({{"a", "b"}, {"a b", "c"}});
  VocabularyFolder folder({{"tokenizer.json", tokenizer.dump()},
                           {"tokenizer_config.json", R"({"eos_token": {"content": "<|end|>"}})"}});
  folder.checkpoint.config_json = R"({"eos_token_id": 3, "pad_token_id": 4, "bos_token_id": -1})";
  const auto v = folder.read();
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_EQ(v->kind, VocabularyKind::bpe);
  EXPECT_EQ(v->pre_tokenizer, "gpt-2");
  EXPECT_THAT(v->pieces, ElementsAre("a", "b", "c", "ab", "abc", "<|end|>", "<|tool|>", " x"));
  EXPECT_THAT(v->types,
              ElementsAre(kNormal, kNormal, kNormal, kNormal, kNormal, kControl, kControl, kUser));
  // A space inside a part, as newer files have it, is written as the byte-level sign.
  EXPECT_THAT(v->merges, ElementsAre("a b",
                                     "a\xC4\xA0"
                                     "b c"));
  EXPECT_THAT(v->special, ElementsAre(Pair(SpecialToken::eos, 5), Pair(SpecialToken::pad, 4)));
  EXPECT_THAT(v->added,
              ElementsAre(Pair(SpecialToken::bos, false), Pair(SpecialToken::eos, false)));
}

TEST(Vocabulary, ByteLevelFromVocabAndMerges) {
  const std::map<std::string, std::string> files = {
      {"vocab.json", R"({"a": 0, "#": 1, "a#": 2})"},
      {"merges.txt", "#version: 0.2\r\na #\r\n# a\n\n"},
      {"added_tokens.json", R"({"   ": 3, "<|end|>": 4})"}};
  const auto v = VocabularyFolder(files).read();
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_EQ(v->pre_tokenizer, "phi-2");  // by its runs of spaces
  EXPECT_THAT(v->merges, ElementsAre("a #", "# a"));
  EXPECT_THAT(v->types,
              ElementsAre(kNormal, kNormal, kNormal, kUser, kControl, kUnused, kUnused, kUnused));
}

// The pattern decides, whatever the vocabulary is.
TEST(Vocabulary, PreTokenizersByTheirPattern) {
  const auto name_of = [](const std::string& pattern, bool ignore_merges = false) {
    json tokenizer = small_bpe();
    tokenizer["pre_tokenizer"] = {{"type", "Sequence"},
                                  {"pretokenizers",
                                   {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}},
                                    {{"type", "ByteLevel"}, {"use_regex", false}}}}};
    tokenizer["model"]["ignore_merges"] = ignore_merges;
    const VocabularyFolder folder({{"tokenizer.json", tokenizer.dump()}});
    const auto v = folder.read();
    return v ? v->pre_tokenizer : folder.outcome();
  };
  const std::string cl100k =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  EXPECT_EQ(name_of(cl100k), "dbrx");
  EXPECT_EQ(name_of(cl100k, true), "llama-bpe");
  EXPECT_EQ(
      name_of(
          R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]|\s+(?!\S)|\s+)"),
      "unsupported: F/tokenizer.json: pre_tokenizer "
      R"(''(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+')"
      " is none that llama.cpp has under a name known here (gpt-2, phi-2, gpt-4o, dbrx, llama-bpe, "
      "qwen2)");
  EXPECT_EQ(name_of("x+"),
            "unsupported: F/tokenizer.json: pre_tokenizer 'x+' is none that llama.cpp has under a "
            "name known here (gpt-2, phi-2, gpt-4o, dbrx, llama-bpe, qwen2)");
}

TEST(Vocabulary, TemplatesThatAddTokens) {
  json tokenizer = small_bpe();
  tokenizer["added_tokens"].push_back({{"id", 6}, {"content", "<s>"}, {"special", true}});
  const json a = {{"Sequence", {{"id", "A"}}}}, b = {{"Sequence", {{"id", "B"}}}},
             bos = {{"SpecialToken", {{"id", "<s>"}}}},
             end = {{"SpecialToken", {{"id", "<|end|>"}}}};
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"}, {"single", {bos, a, end}}, {"pair", {bos, a, end, b, end}}};
  const auto v =
      VocabularyFolder({{"tokenizer.json", tokenizer.dump()},
                        {"tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "abc"})"}})
          .read();
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_THAT(v->added, ElementsAre(Pair(SpecialToken::bos, true), Pair(SpecialToken::eos, true),
                                    Pair(SpecialToken::sep, false)));
  // The text ends with another token than eos: that one is eos then.
  EXPECT_EQ(v->find(SpecialToken::eos), 5u);
}

TEST(Vocabulary, ChatTemplates) {
  const auto read = [](const std::map<std::string, std::string>& more) {
    std::map<std::string, std::string> files = more;
    files["tokenizer.json"] = small_bpe().dump();
    return VocabularyFolder(files).read();
  };
  auto v = read({{"tokenizer_config.json", "{}"}, {"chat_template.jinja", "from a file"}});
  ASSERT_TRUE(v);
  EXPECT_EQ(v->chat_template, "from a file");
  v = read({{"tokenizer_config.json", R"({"chat_template": "inside"})"},
            {"chat_template.jinja", "from a file"}});
  ASSERT_TRUE(v);
  EXPECT_EQ(v->chat_template, "inside");
  v = read({{"tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "d"},
                                          {"name": "tool use", "template": "t"}]})"}});
  ASSERT_TRUE(v);
  EXPECT_EQ(v->chat_template, "d");
  EXPECT_THAT(v->named_templates, ElementsAre(Pair("tool use", "t")));
}

}  // namespace
}  // namespace phiquant
