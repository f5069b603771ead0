// .tiktoken files: merges out of ranks, the vocabulary and the tokenizer files made of them, and
// damaged ones with their words. That runtimes encode text as tiktoken does is a test of
// tests/runtime.
#include "model/tokenizer/tiktoken.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/binary.h>

#include "model/tokenizer/tokenizer_maker.h"
#include "model/tokenizer/vocabulary_folder.h"

namespace phiquant {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::Pair;

std::string base64(const std::string& bytes) {
  return YAML::EncodeBase64(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}
std::string line(const std::string& bytes, size_t rank) {
  return fmt::format("{} {}\n", base64(bytes), rank);
}
std::string all_bytes() {
  std::string out;
  for (size_t i = 0; i < 256; ++i) out += line(std::string(1, static_cast<char>(i)), i);
  return out;
}
// Every byte and these tokens, from rank 256 and line 257 on.
std::string ranks_of(const std::vector<std::string>& tokens) {
  std::string out = all_bytes();
  for (size_t i = 0; i < tokens.size(); ++i) out += line(tokens[i], 256 + i);
  return out;
}

using Merges = std::vector<std::pair<uint32_t, uint32_t>>;

// "message" or "accepted"; the file is called F.
std::string outcome(const std::string& text, Errc wanted = Errc::corrupt) {
  const auto tokens = read_tiktoken("F", text);
  const auto merges = tokens ? tiktoken_merges("F", *tokens) : Result<Merges>(tokens.error());
  if (merges) return "accepted";
  EXPECT_EQ(merges.error().code, wanted);
  return merges.error().message;
}

TEST(Tiktoken, MergesAreThePartsThatLowerRanksLeave) {
  // "abcd" is ab + cd and not abc + d, since cd comes before abc; " \xff" has a byte of no text.
  const auto tokens =
      read_tiktoken("F", ranks_of({"ab", "cd", "abc", "abcd", "aa", "aaa", " \xFF"}));
  ASSERT_TRUE(tokens) << tokens.error().message;
  ASSERT_EQ(tokens->size(), 263u);
  EXPECT_EQ((*tokens)[258].bytes, "abc");
  EXPECT_EQ((*tokens)[258].line, 259u);
  const auto merges = tiktoken_merges("F", *tokens);
  ASSERT_TRUE(merges) << merges.error().message;
  EXPECT_THAT(*merges, ElementsAre(Pair('a', 'b'), Pair('c', 'd'), Pair(256, 'c'), Pair(256, 257),
                                   Pair('a', 'a'), Pair(260, 'a'), Pair(' ', 255)));
}

TEST(Tiktoken, RanksDecideNotTheOrderOfLines) {
  // Bytes come last by rank, and the file ends without a line end and has CR LF and empty lines.
  std::string text = line("xy", 0) + "\r\n\n" + base64("xyz") + " 1\r\n";
  for (size_t i = 256; i-- > 0;) text += line(std::string(1, static_cast<char>(i)), 2 + i);
  text.pop_back();
  const auto tokens = read_tiktoken("F", text);
  ASSERT_TRUE(tokens) << tokens.error().message;
  EXPECT_EQ((*tokens)[1].bytes, "xyz");
  EXPECT_EQ((*tokens)[1].line, 4u);
  const auto merges = tiktoken_merges("F", *tokens);
  ASSERT_TRUE(merges) << merges.error().message;
  EXPECT_THAT(*merges, ElementsAre(Pair(2 + 'x', 2 + 'y'), Pair(0, 2 + 'z')));
}

TEST(Tiktoken, BytesAsGpt2WritesThem) {
  EXPECT_EQ(byte_level_text("az~"), "az~");
  EXPECT_EQ(byte_level_text(std::string("\0", 1)), "Ā");
  EXPECT_EQ(byte_level_text(" \n\x7F"), "ĠĊġ");
  EXPECT_EQ(byte_level_text("\xA0\xA1\xAC\xAD\xAE\xFF"), "ł¡¬Ń®ÿ");
}

TEST(Tiktoken, DamagedLines) {
  const auto after = [](const std::string& last) { return outcome(all_bytes() + last); };
  const std::string in = "F: line 257: ";
  EXPECT_EQ(after("YWI=\n"),
            in + "'YWI=' is not a token in base64 and its rank with a space between");
  EXPECT_EQ(after(" 256\n"),
            in + "' 256' is not a token in base64 and its rank with a space between");
  EXPECT_EQ(after("YWI= \n"),
            in + "'YWI= ' is not a token in base64 and its rank with a space between");
  for (const std::string text : {"Y!I=", "YWI", "YWI==", "=", "Y\tWI", "YWJ=", "\xFF\xFE"}) {
    const std::string message = after(text + " 256\n");
    EXPECT_TRUE(message.starts_with(in) && message.ends_with("' is not base64")) << message;
  }
  for (const std::string rank : {"-1", "1x", "4294967296", "0x100", "2 5", " 256"})
    EXPECT_EQ(after("YWI= " + rank + "\n"),
              in + "rank '" + rank + "' is not a whole number from 0 to 4294967295");
  EXPECT_EQ(after("YWI= 257\n"), in + "rank 257, and the file has 257 tokens (wanted every rank "
                                      "from 0 on; incomplete download?)");
  EXPECT_EQ(after("YWI= 65\n"), in + "rank 65 is that of line 66 too");
  EXPECT_EQ(after("YQ== 256\n"), in + "token 'a' is that of line 98 too");
  EXPECT_EQ(outcome(all_bytes() + std::string(1'000'000, 'A') + " 256\n", Errc::unsupported),
            in + "a token of 1000000 characters in base64; at most 256 bytes are read");
}

TEST(Tiktoken, RanksThatAreNoMerges) {
  EXPECT_EQ(outcome(""),
            "F: byte 0x00 is no token of its own (wanted all 256; incomplete "
            "download?)");
  EXPECT_EQ(outcome(all_bytes().substr(0, all_bytes().rfind("/w=="))),
            "F: byte 0xFF is no token of its own (wanted all 256; incomplete download?)");
  EXPECT_EQ(outcome(ranks_of({"ab", "abcd", "cd"})),
            "F: line 258: token 'abcd' is not put together from two tokens of lower rank");
  // All of its parts are tokens, but joining "bc" first leaves three.
  EXPECT_EQ(outcome(ranks_of({"bc", "ab", "cd", "abcd"})),
            "F: line 260: token 'abcd' is not put together from two tokens of lower rank");
}

constexpr const char* kFile = "cl100k_base.tiktoken";

struct Phi3SmallFolder : VocabularyFolder {
  explicit Phi3SmallFolder(const std::string& tiktoken, json config = json::object())
      : VocabularyFolder(
            {{kFile, tiktoken}, {"tokenizer_config.json", with_class(config).dump()}}) {
    checkpoint.decoder.vocab = 100352;
    checkpoint.decoder.context = 64;
  }
  static json with_class(json& config) {
    config.emplace("tokenizer_class", "Phi3SmallTokenizer");
    return config;
  }
};

TEST(TiktokenVocabulary, HasTheConstantsOfItsClass) {
  const Phi3SmallFolder folder(ranks_of({"ab", " ab"}), {{"bos_token", "<|endoftext|>"},
                                                         {"eos_token", "<|endoftext|>"},
                                                         {"pad_token", "<|endoftext|>"},
                                                         {"chat_template", "{{ x }}"}});
  const auto v = folder.read();
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_EQ(v->kind, VocabularyKind::bpe);
  EXPECT_EQ(v->pre_tokenizer, "dbrx");
  EXPECT_THAT(v->merges, ElementsAre("a b", "Ġ ab"));
  ASSERT_EQ(v->pieces.size(), 100352u);
  EXPECT_EQ(v->pieces[257], "Ġab");
  EXPECT_EQ(v->pieces[258], "[PAD258]");
  EXPECT_EQ(v->types[258], PieceType::unused);
  EXPECT_EQ(v->pieces[100266], "<|end|>");
  EXPECT_EQ(v->types[100266], PieceType::control);
  EXPECT_EQ(v->find(SpecialToken::bos), 100257u);
  EXPECT_EQ(v->find(SpecialToken::eos), 100257u);
  EXPECT_EQ(v->find(SpecialToken::pad), 100257u);
  EXPECT_EQ(v->chat_template, "{{ x }}");
}

TEST(TiktokenVocabulary, BecomesFilesThatRuntimesRead) {
  const Phi3SmallFolder folder(
      ranks_of({"ab", " ab"}),
      {{"eos_token", "<|endoftext|>"},
       {"chat_template", "{{ x }}"},
       {"auto_map", {{"AutoTokenizer", {"tokenization_phi3_small.Phi3SmallTokenizer", nullptr}}}}});
  const auto files = missing_tokenizer_files(folder.checkpoint);
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[0].name, "tokenizer.json");
  const json made = json::parse((*files)[0].text), config = json::parse((*files)[1].text);
  EXPECT_EQ(made["model"]["vocab"].size(), 258u + 96u);
  EXPECT_EQ(made["model"]["vocab"]["Ġab"], 257);
  EXPECT_EQ(made["model"]["merges"],
            json::array({json::array({"a", "b"}), json::array({"Ġ", "ab"})}));
  EXPECT_EQ(made["added_tokens"].size(), 96u);
  EXPECT_EQ(made["added_tokens"][1]["content"], "<|endoftext|>");
  EXPECT_EQ(made["added_tokens"][1]["id"], 100257);
  // As tiktoken writes it, but for possessive quantifiers and the order of what is alike.
  EXPECT_EQ(made["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"],
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
            R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)");
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(config["eos_token"], "<|endoftext|>");
  EXPECT_EQ(config["chat_template"], "{{ x }}");
  EXPECT_EQ(config["model_max_length"], 64);
  EXPECT_FALSE(config.contains("auto_map"));
}

TEST(TiktokenVocabulary, ListedTokensStandBeforeTheConstants) {
  Phi3SmallFolder folder(ranks_of({}),
                         {{"added_tokens_decoder", {{"256", {{"content", "<|x|>"}}}}}});
  folder.checkpoint.decoder.vocab = 257;
  const auto v = folder.read();
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_EQ(v->pieces[256], "<|x|>");
  EXPECT_EQ(v->types[256], PieceType::control);
}

TEST(TiktokenVocabulary, OnlyOfAKnownClass) {
  const auto n_made = [](const std::map<std::string, std::string>& files,
                         const std::string& model_type) {
    VocabularyFolder folder(files);
    folder.checkpoint.decoder.vocab = 100352;
    folder.checkpoint.model_type = model_type;
    const auto made = missing_tokenizer_files(folder.checkpoint);
    EXPECT_TRUE(made) << made.error().message;
    return made ? made->size() : 0;
  };
  const std::string other = R"({"tokenizer_class": "QWenTokenizer"})";
  EXPECT_EQ(n_made({{kFile, ranks_of({"ab"})}}, "phi3small"), 2u);
  EXPECT_EQ(n_made({{kFile, ranks_of({"ab"})}}, "phi3"), 0u);
  EXPECT_EQ(n_made({{kFile, ranks_of({"ab"})}, {"tokenizer_config.json", other}}, "phi3small"), 0u);
  EXPECT_EQ(n_made({{"qwen.tiktoken", ranks_of({"ab"})}}, "phi3small"), 0u);
  EXPECT_EQ(
      n_made({{kFile, ranks_of({"ab"})}, {"tokenizer.json", small_bpe().dump()}}, "phi3small"), 0u);
}

TEST(TiktokenVocabulary, BeyondItsPlace) {
  const auto outcome_in = [](size_t n_vocabulary, const std::string& ranks,
                             const json& config = json::object()) {
    Phi3SmallFolder folder(ranks, config);
    folder.checkpoint.decoder.vocab = static_cast<uint32_t>(n_vocabulary);
    return folder.outcome();
  };
  const std::string in = "corrupt: F/cl100k_base.tiktoken: ";
  EXPECT_EQ(outcome_in(100352, ranks_of({"ab"})), "accepted");
  EXPECT_EQ(outcome_in(256, ranks_of({"ab"})),
            in + "token 'ab' has id 256, the model has 256 (the tokenizer of another model?)");
  EXPECT_EQ(outcome_in(100351, ranks_of({"ab"})),
            in + "token '<|dummy_id_86|>' has id 100351, the model has 100351 (the tokenizer of "
                 "another model?)");
  const auto added = [](const char* id, const char* text) -> json {
    return {{"added_tokens_decoder", {{id, {{"content", text}}}}}};
  };
  EXPECT_EQ(outcome_in(300, ranks_of({"ab"}), added("256", "<|x|>")),
            in + "line 257: rank 256 is the id of the special token '<|x|>'");
  EXPECT_EQ(outcome_in(300, ranks_of({"ab"}), added("257", "ab")),
            in + "line 257: 'ab' is a special token, id 257");
  json twice = added("257", "<|x|>");
  twice["added_tokens_decoder"]["258"] = {{"content", "<|x|>"}};
  EXPECT_EQ(outcome_in(300, ranks_of({"ab"}), twice),
            "corrupt: F/tokenizer_config.json: two ids for the special token '<|x|>'");
}

// A checkpoint of 300 tokens with that file and no tokenizer.json.
struct CheckpointWithRanks : TinyCheckpoint {
  std::string file = kFile, ranks = ranks_of({"ab"});

  CheckpointWithRanks() {
    config["vocab_size"] = 300;
    for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) add(name, {300, 8});
    tokenizer = nullptr;
    tokenizer_config = {{"tokenizer_class", "Phi3SmallTokenizer"},
                        {"bos_token", "<|endoftext|>"},
                        {"eos_token", "<|end|>"},
                        {"added_tokens_decoder",
                         {{"260", {{"content", "<|endoftext|>"}}},
                          {"261", {{"content", "<|end|>"}}},
                          {"262", {{"content", "<think>"}}}}}};
    config["bos_token_id"] = generation["bos_token_id"] = 260;
    config["eos_token_id"] = generation["eos_token_id"] = 261;
  }
  template <typename Judge>
  auto judge(Judge of) const {
    const TemporaryFolder folder;
    write(folder.path());
    write_file(folder.path() / file, ranks);
    return of(folder.path());
  }
  Checkpoint open() const {
    const auto result = judge([](const fs::path& folder) { return open_checkpoint(folder); });
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : Checkpoint();
  }
  std::string outcome() const {
    return judge([](const fs::path& folder) { return test::outcome(folder); });
  }
};

TEST(TiktokenCheckpoint, IdsComeFromTheFile) {
  const Checkpoint c = CheckpointWithRanks().open();
  EXPECT_THAT(c.warnings, testing::IsEmpty());
  EXPECT_EQ(c.tokens.tokenizer_bos, 260);
  EXPECT_EQ(c.tokens.tokenizer_eos, 261);
  EXPECT_EQ(c.tokens.tokenizer_pad, std::nullopt);
  EXPECT_THAT(c.tokens.tags, ElementsAre(Pair("<think>", 262)));
  ASSERT_EQ(c.sidecars.size(), 2u);
  EXPECT_EQ(c.sidecars[0].filename(), kFile);
}

TEST(TiktokenCheckpoint, ConflictsNameTheFile) {
  CheckpointWithRanks tiny;
  tiny.config["bos_token_id"] = tiny.generation["bos_token_id"] = 2;
  tiny.tokenizer_config["eos_token"] = "<|stop|>";
  EXPECT_THAT(tiny.open().warnings,
              ElementsAre("bos_token of tokenizer_config.json is '<|endoftext|>', id 260; "
                          "config.json and generation_config.json say 2",
                          "eos_token '<|stop|>' of tokenizer_config.json is not in "
                          "cl100k_base.tiktoken"));
}

TEST(TiktokenCheckpoint, OthersAreNoTokenizer) {
  const auto missing =
      ElementsAre("tokenizer.json is missing: runtimes that need it will not encode text");
  CheckpointWithRanks tiny;
  tiny.file = "qwen.tiktoken";
  EXPECT_THAT(tiny.open().warnings, missing);
  tiny = CheckpointWithRanks();
  tiny.tokenizer_config["tokenizer_class"] = "QWenTokenizer";
  EXPECT_THAT(tiny.open().warnings, missing);
}

TEST(TiktokenCheckpoint, DamageIsFoundAtOpening) {
  const std::string in = "corrupt: F/cl100k_base.tiktoken: ";
  CheckpointWithRanks tiny;
  tiny.ranks += "!!! 257\n";
  EXPECT_EQ(tiny.outcome(), in + "line 258: '!!!' is not base64");
  tiny.ranks = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1681126\n";
  EXPECT_EQ(tiny.outcome(), in + "this is a Git LFS pointer, not the file (run `git lfs pull`)");
  tiny = CheckpointWithRanks();
  tiny.tokenizer_config.erase("added_tokens_decoder");
  EXPECT_EQ(tiny.outcome(), in + "token '<|dummy_id_2|>' has id 100256, the model has 300 (the "
                                 "tokenizer of another model?)");
}

}  // namespace
}  // namespace phiquant
