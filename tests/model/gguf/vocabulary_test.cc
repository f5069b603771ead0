// The vocabulary of a GGUF model, and tokenizer files made of it. That they encode text as the
// original's files is a test of tests/runtime.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "model/gguf/vocabulary.h"
#include "model/tokenizer/tokenizer_maker.h"
#include "wire/gguf_header.h"

namespace phiquant {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::Pair;

GgufArray texts(const std::vector<std::string>& values) {
  return {GgufType::string, {values.begin(), values.end()}};
}
GgufArray types(const std::vector<int32_t>& values) {
  return {GgufType::i32, {values.begin(), values.end()}};
}

// "a", "b" and "ab" beside the usual three.
GgufModel spm_model() {
  GgufModel m;
  m.path = "x.gguf";
  m.metadata = {
      {"tokenizer.ggml.model", std::string("llama")},
      {"tokenizer.ggml.tokens", texts({"<unk>", "<s>", "a", "b", "ab", "[PAD5]"})},
      {"tokenizer.ggml.scores", GgufArray{GgufType::f32, {0.f, 0.f, -1.f, -2.f, 0.f, -9.f}}},
      {"tokenizer.ggml.token_type", types({2, 3, 1, 1, 1, 5})},
      {"tokenizer.ggml.bos_token_id", uint32_t{1}},
      {"tokenizer.ggml.unknown_token_id", uint32_t{0}},
      {"tokenizer.chat_template", std::string("{{ x }}")},
  };
  return m;
}
GgufModel bpe_model() {
  GgufModel m;
  m.path = "x.gguf";
  m.metadata = {
      {"tokenizer.ggml.model", std::string("gpt2")},
      {"tokenizer.ggml.pre", std::string("gpt-4o")},
      {"tokenizer.ggml.tokens", texts({"a", "b", "ab", "<|end|>"})},
      {"tokenizer.ggml.token_type", types({1, 1, 1, 3})},
      {"tokenizer.ggml.merges", texts({"a b"})},
  };
  return m;
}

TEST(GgufVocabulary, SentencePieceWithItsDefaults) {
  const auto v = gguf_vocabulary(spm_model());
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_EQ(v->kind, VocabularyKind::spm);
  EXPECT_EQ(v->pre_tokenizer, "default");
  EXPECT_THAT(v->special, ElementsAre(Pair(SpecialToken::bos, 1), Pair(SpecialToken::unk, 0)));
  EXPECT_THAT(v->added, ElementsAre(Pair(SpecialToken::bos, true), Pair(SpecialToken::eos, false)));
  const auto files = make_tokenizer_files(*v, 64);
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_EQ(files->size(), 2u);
  const json made = json::parse((*files)[0].text), config = json::parse((*files)[1].text);
  EXPECT_EQ(made["model"]["vocab"],
            json({{"<unk>", 0}, {"<s>", 1}, {"a", 2}, {"b", 3}, {"ab", 4}}));
  EXPECT_EQ(made["model"]["merges"], json::array({json::array({"a", "b"})}));
  EXPECT_EQ(made["model"]["unk_token"], "<unk>");
  EXPECT_EQ(made["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
  EXPECT_EQ(made["post_processor"]["pair"][3]["Sequence"]["id"], "B");
  EXPECT_EQ(made["added_tokens"].size(), 2u);
  EXPECT_EQ(config["model_max_length"], 64);
  EXPECT_EQ(config["chat_template"], "{{ x }}");
  EXPECT_EQ(config["tokenizer_class"], "LlamaTokenizer");
}

TEST(GgufVocabulary, ByteLevelWithItsDefaults) {
  const auto v = gguf_vocabulary(bpe_model());
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_THAT(v->added,
              ElementsAre(Pair(SpecialToken::bos, false), Pair(SpecialToken::eos, false)));
  const auto files = make_tokenizer_files(*v, 64);
  ASSERT_TRUE(files) << files.error().message;
  const json made = json::parse((*files)[0].text);
  EXPECT_EQ(made["model"]["merges"], json::array({json::array({"a", "b"})}));
  EXPECT_EQ(made["pre_tokenizer"]["pretokenizers"][1]["use_regex"], false);
  EXPECT_EQ(made["added_tokens"][0]["special"], true);
  // Not GPT2Tokenizer, whose pattern is another.
  EXPECT_EQ(json::parse((*files)[1].text)["tokenizer_class"], "PreTrainedTokenizerFast");
}

std::string outcome(GgufModel model, const std::function<void(GgufModel&)>& change) {
  change(model);
  const auto v = gguf_vocabulary(model);
  if (!v) return v.error().message;
  const auto files = make_tokenizer_files(*v, 64);
  return files ? "accepted" : files.error().message;
}
auto set(const char* key, GgufValue value) {
  return [=](GgufModel& m) { set_gguf_key(m.metadata, key, value); };
}

TEST(GgufVocabularyBad, Keys) {
  EXPECT_EQ(outcome(spm_model(), set("tokenizer.ggml.model", std::string("t5"))),
            "x.gguf: tokenizer.ggml.model is 't5' (known: llama, gpt2)");
  EXPECT_EQ(outcome(spm_model(), [](GgufModel& m) { m.metadata.clear(); }),
            "x.gguf: tokenizer.ggml.model is '' (known: llama, gpt2)");
  EXPECT_EQ(outcome(spm_model(), set("tokenizer.ggml.tokens", types({1}))),
            "x.gguf: key 'tokenizer.ggml.tokens' is missing, or no list of the type that it needs");
  EXPECT_EQ(outcome(spm_model(), set("tokenizer.ggml.token_type", types({1}))),
            "x.gguf: key 'tokenizer.ggml.token_type' has 1 elements, wanted 6, one for each token");
  EXPECT_EQ(outcome(bpe_model(), set("tokenizer.ggml.token_type", types({1, 1, 7, 1}))),
            "x.gguf: key 'tokenizer.ggml.token_type' has the unknown type 7");
  EXPECT_EQ(outcome(spm_model(), set("tokenizer.ggml.bos_token_id", uint32_t{6})),
            "x.gguf: key 'tokenizer.ggml.bos_token_id' is 6, there are 6 tokens");
  for (const char* merge : {"ab", "a ", "", " "})
    EXPECT_TRUE(outcome(bpe_model(), set("tokenizer.ggml.merges", texts({merge})))
                    .ends_with("is not two parts with a space between"))
        << merge;
  EXPECT_EQ(outcome(bpe_model(), set("tokenizer.ggml.pre", std::string("tekken"))),
            "pre-tokenizer 'tekken' is not known (gpt-2, phi-2, gpt-4o, dbrx, llama-bpe, qwen2 "
            "are)");
}

// Pieces that are no text, twice there, or cut inside a character.
TEST(GgufVocabularyBad, PiecesAreMended) {
  GgufModel m = spm_model();
  set_gguf_key(m.metadata, "tokenizer.ggml.tokens",
               texts({"", "\xFF", "a\xE2\x96", "b", "b", "\xE2\x96\x81\xE2\x96\x81"}));
  EXPECT_EQ(outcome(m, [](GgufModel&) {}), "accepted");
}

}  // namespace
}  // namespace phiquant
