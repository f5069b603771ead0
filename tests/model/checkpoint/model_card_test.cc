// The front matter of README.md, good and hostile. Nothing in it is an error.
#include "model/checkpoint/model_card.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace phiquant {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr size_t kLimit = 256 * 1024;

std::string fenced(const std::string& yaml) { return "---\n" + yaml + "\n---\n# Title\n"; }
ModelCard card_of(const std::string& yaml) { return parse_model_card("f", fenced(yaml)); }

// The one warning of a card without values.
std::string warning_of(const ModelCard& card) {
  EXPECT_THAT(card.values, IsEmpty());
  EXPECT_EQ(card.warnings.size(), 1u);
  return card.warnings.empty() ? "" : card.warnings[0];
}

std::string repeated(const std::string& text, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += text;
  return out;
}

TEST(ModelCard, Values) {
  const ModelCard card = card_of(
      "license: mit\ntags:\n-\tnlp\n- 'a: b'\nnothing: ~\nempty:\nbase_model:\n- name: n\n  v: "
      "1.0\n"
      "- [x]\n- ~\nmap: {a: b}\nlicense: \"null\"");
  EXPECT_THAT(card.warnings, IsEmpty());
  EXPECT_THAT(card.texts("license"), ElementsAre("null"));  // the last one, and no null
  EXPECT_THAT(card.texts("tags"), ElementsAre("nlp", "a: b"));
  for (const char* key : {"nothing", "empty", "map"}) {
    EXPECT_TRUE(card.has(key)) << key;
    EXPECT_THAT(card.texts(key), IsEmpty()) << key;
  }
  EXPECT_FALSE(card.has("absent"));
  const auto& models = card.values.at("base_model");
  ASSERT_EQ(models.size(), 3u);
  EXPECT_THAT(models[0].fields, ElementsAre(testing::Pair("name", "n"), testing::Pair("v", "1.0")));
  EXPECT_TRUE(models[1].fields.empty() && models[1].text.empty());
}

TEST(ModelCard, WhereFrontMatterIsAndIsNot) {
  for (const char* text :
       {"", "# Title\n---\na: b\n---\n", "--- \na: b\n---\n", "---", "---\n---\na: b\n",
        "---\n# a comment\n---\n", "version https://git-lfs"}) {
    const ModelCard card = parse_model_card("f", text);
    EXPECT_TRUE(card.values.empty() && card.warnings.empty()) << text;
  }
  for (const char* text : {"---\na: b\n---\nc: d\n", "---\r\na: b\r\n---\r\nc: d",
                           "---\ra: b\r---\r", "---\na: b", "---\na: b\n"}) {
    const ModelCard card = parse_model_card("f", text);
    EXPECT_THAT(card.texts("a"), ElementsAre("b")) << text;
    EXPECT_EQ(card.values.size(), 1u) << text;
  }
}

TEST(ModelCard, WhatIsNoYaml) {
  EXPECT_EQ(
      warning_of(card_of("license: mit\ntags: [nlp")),
      "f: the front matter is no YAML (line 4: end of sequence flow not found), and is left out");
  EXPECT_EQ(warning_of(card_of("a: b: c")),
            "f: the front matter is no YAML (line 2: illegal map value), and is left out");
  EXPECT_EQ(warning_of(card_of("just a text")), "f: the front matter has no keys, and is left out");
  EXPECT_EQ(warning_of(card_of("- a\n- b")), "f: the front matter has no keys, and is left out");
  const std::string no_text = "f: the front matter is no text in UTF-8, and is left out";
  for (const std::string& bytes : {std::string("a: \xff"), std::string("a: \0b", 5),
                                   std::string("\0a: b", 5), std::string("a: \x04")})
    EXPECT_EQ(warning_of(card_of(bytes)), no_text);
}

TEST(ModelCard, NestingAliasesAndSizes) {
  for (const char* open : {"[", "{a: ", "- ", "? "})
    EXPECT_THAT(warning_of(card_of("a: \n " + repeated(open, 20'000))),
                testing::StartsWith("f: the front matter is no YAML (line "));
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 200; ++i) bomb += fmt::format("a{0}: &a{0} [*a{1}, *a{1}]\n", i, i - 1);
  const ModelCard card = card_of(bomb + "tags: [*a199, *a0, y]");
  EXPECT_THAT(card.texts("tags"), ElementsAre("y"));
  EXPECT_EQ(card.values.size(), 201u);
  EXPECT_THAT(card_of("a: &a [*a, *a, b]").texts("a"), ElementsAre("b"));

  const std::string too_much = fmt::format(
      "f: the front matter holds more than {} bytes through its aliases, and is left out", kLimit);
  const std::string text(1000, 'x');
  EXPECT_EQ(warning_of(card_of("a: &a " + text + "\nb: [" + repeated("*a, ", 300) + "]")),
            too_much);
  EXPECT_EQ(warning_of(card_of("a: &a {b: " + text + "}\nc: [" + repeated("*a, ", 300) + "]")),
            too_much);
  EXPECT_THAT(card_of("a: &a " + text + "\nb: [" + repeated("*a, ", 200) + "]").texts("b").size(),
              200u);
}

TEST(ModelCard, Limits) {
  const std::string too_long =
      fmt::format("f: the front matter has more than {} bytes, and is left out", kLimit);
  EXPECT_THAT(card_of("a: " + std::string(kLimit - 4, 'x')).texts("a").size(), 1u);
  EXPECT_EQ(warning_of(card_of("a: " + std::string(kLimit - 3, 'x'))), too_long);
  // Without an end, a text that is longer was cut.
  EXPECT_EQ(warning_of(parse_model_card("f", "---\n" + repeated("#\r\n", kLimit / 3))), too_long);
  EXPECT_THAT(parse_model_card("f", fenced("a: b") + std::string(2 * kLimit, 'x')).texts("a"),
              ElementsAre("b"));

  const ModelCard many = card_of("tags:\n" + repeated("- t\n", 1001) + "license: mit");
  EXPECT_EQ(many.texts("tags").size(), 1000u);
  EXPECT_THAT(many.texts("license"), ElementsAre("mit"));
  EXPECT_THAT(many.warnings, ElementsAre("f: 'tags' has 1001 entries, the first 1000 are taken"));
}

class ModelCardFile : public testing::Test {
 protected:
  ModelCardFile() {
    std::string name = (fs::temp_directory_path() / "phiquant_card_XXXXXX").string();
    dir = fs::canonical(::mkdtemp(name.data()));
    fs::create_directory(dir / "model");
  }
  ~ModelCardFile() override { fs::remove_all(dir); }
  static void write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }

  fs::path dir;
};

TEST_F(ModelCardFile, OneLongerThanItsFrontMatter) {
  write(dir / "model/README.md", fenced("license: mit") + std::string(2 * kLimit, 'x'));
  EXPECT_THAT(read_model_card(dir / "model", false).texts("license"), ElementsAre("mit"));
  write(dir / "model/README.md", "---\n" + repeated("#\r\n", kLimit));
  EXPECT_THAT(warning_of(read_model_card(dir / "model", false)),
              testing::HasSubstr("has more than"));
}

TEST_F(ModelCardFile, NoneOrUnreadable) {
  EXPECT_THAT(read_model_card(dir / "model", false).warnings, IsEmpty());
  fs::create_symlink("nowhere", dir / "model/README.md");
  EXPECT_EQ(warning_of(read_model_card(dir / "model", false)),
            (dir / "model/README.md").string() +
                ": No such file or directory (the link's target is missing: incomplete download?); "
                "no model card is read");
  fs::remove(dir / "model/README.md");
  fs::create_directory(dir / "model/README.md");
  EXPECT_THAT(read_model_card(dir / "model", false).warnings, IsEmpty());
}

TEST_F(ModelCardFile, LinksOutOfTheFolder) {
  write(dir / "outside.md", fenced("license: mit"));
  fs::create_symlink(dir / "outside.md", dir / "model/README.md");
  EXPECT_THAT(
      warning_of(read_model_card(dir / "model", false)),
      testing::HasSubstr("outside the checkpoint's folder (--follow-symlinks accepts it); no "
                         "model card is read"));
  EXPECT_THAT(read_model_card(dir / "model", true).texts("license"), ElementsAre("mit"));
}

}  // namespace
}  // namespace phiquant
