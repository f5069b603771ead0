// Model cards in GGUF metadata: tests/data/model_cards has cards, and what llama.cpp's converter
// made of them (tests/data/model_cards/make_keys.py).
#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <type_traits>
#include <variant>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "format/gguf/general.h"
#include "format/gguf/metadata.h"
#include "format/gguf/model_card.h"
#include "model/checkpoint.h"
#include "model/checkpoint/model_card.h"

namespace phiquant::format {
namespace {

using json = nlohmann::json;
const std::string kData = PHIQUANT_TEST_DATA;

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

ModelCard card_of(const std::string& yaml) {
  return parse_model_card("README.md", "---\n" + yaml + "\n---\n");
}

// [key, GGUF type, value], as the reference has them.
json row_of(const GgufKeyValue& pair) {
  json row = {pair.key, nullptr, nullptr};
  if (const auto* text = std::get_if<std::string>(&pair.value))
    row[1] = 8, row[2] = *text;
  else if (const auto* number = std::get_if<uint32_t>(&pair.value))
    row[1] = 4, row[2] = *number;
  else if (const auto* array = std::get_if<GgufArray>(&pair.value)) {
    row[1] = 9, row[2] = json::array();
    EXPECT_EQ(array->type, GgufType::string);
    for (const auto& item : array->values) row[2].push_back(std::get<std::string>(item));
  }
  return row;
}

TEST(GgufModelCard, KeysAreTheConverters) {
  auto checkpoint = open_checkpoint(kData + "/checkpoints/phi3-4k-tiny");
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  for (const char* name : {"published", "finetune", "joined"}) {
    const std::string stem = kData + "/model_cards/" + name;
    checkpoint->card = parse_model_card(name, read(stem + ".md"));
    EXPECT_THAT(checkpoint->card.warnings, testing::IsEmpty());
    const auto keys = gguf_metadata(*checkpoint, 15);
    ASSERT_TRUE(keys);
    json found = json::array();
    for (const GgufKeyValue& pair : *keys)
      if (pair.key.starts_with("general.") && pair.key != "general.architecture" &&
          pair.key != "general.file_type" && pair.key != "general.quantization_version")
        found.push_back(row_of(pair));
    EXPECT_EQ(found, json::parse(read(stem + ".json"))) << name;
  }
}

// A name with "phi-3" in it makes llama.cpp look for tokens; so no card gives a name.
TEST(GgufModelCard, TheNameIsNotTheCards) {
  Checkpoint c;
  c.folder = "phi-2";
  c.config_json = "{}";
  c.card = card_of("name: phi-3\nmodel_name: phi3");
  const auto keys = general_keys(c, {});
  ASSERT_GE(keys.size(), 2u);
  EXPECT_EQ(row_of(keys[1]), json({"general.name", 8, "Phi 2"}));
}

TEST(GgufModelCard, AddressesOfOtherShapesAreNoIds) {
  const auto keys = keys_of_card(
      card_of("base_model: [https://huggingface.co/a, https://huggingface.co/a/b/c, "
              "https://huggingface.co//b, https://huggingface.co/a/, http://huggingface.co/a/b]"),
      1);
  std::vector<std::string> names;
  for (const GgufKeyValue& pair : keys)
    if (!pair.key.ends_with("repo_url")) names.push_back(pair.key);
  EXPECT_THAT(names, testing::ElementsAre("general.base_model.count", "general.base_model.4.name",
                                          "general.base_model.4.organization"));
}

TEST(GgufModelCard, ValuesThatAreNoTextsAreLeftOutOrTakenAsTheyStand) {
  const auto keys = keys_of_card(
      card_of("license: {a: b}\nlicense_link:\ntags: [2024, ~, [x], 1.50]\nlanguage: no"), 1);
  json found = json::array();
  for (const GgufKeyValue& pair : keys) found.push_back(row_of(pair));
  EXPECT_EQ(found, json::parse(R"([["general.tags", 9, ["2024", "1.50"]],
                                   ["general.languages", 9, ["no"]]])"));
}

}  // namespace
}  // namespace phiquant::format
