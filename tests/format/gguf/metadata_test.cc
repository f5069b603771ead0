// The keys of GGUF files. That they are the converter's is a test of tests/runtime.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/gguf/general.h"
#include "format/gguf/metadata.h"
#include "format/gguf/model_name.h"
#include "model/checkpoint.h"

namespace phiquant::format {
namespace {

using testing::ElementsAre;

std::vector<std::string> shown(const ModelId& id) {
  return {id.name, id.organization, id.basename, id.finetune, id.version, id.size_label};
}

// Found with get_model_id_components of gguf-py (llama.cpp b11434) on the published names, with
// these models' numbers of parameters.
TEST(GgufModelName, Parts) {
  EXPECT_THAT(shown(parse_model_id("microsoft/phi-2", 2'779'683'840)),
              ElementsAre("phi-2", "microsoft", "phi", "", "2", ""));
  EXPECT_THAT(shown(parse_model_id("Phi-3-mini-4k-instruct", 3'821'079'552)),
              ElementsAre("Phi-3-mini-4k-instruct", "", "Phi-3", "4k-instruct", "", "mini"));
  EXPECT_THAT(shown(parse_model_id("Phi-3.5-MoE-instruct", 41'873'153'344)),
              ElementsAre("Phi-3.5-MoE-instruct", "", "Phi-3.5-MoE", "instruct", "", ""));
  EXPECT_THAT(shown(parse_model_id("phi4-tiny", 3'475'760)),
              ElementsAre("phi4-tiny", "", "", "", "", ""));
  EXPECT_THAT(shown(parse_model_id("a-7b1-v2-q4_k-chat", 7'100'000'000)),
              ElementsAre("a-7b1-v2-q4_k-chat", "", "a", "chat", "v2", "7.1B"));
  EXPECT_THAT(shown(parse_model_id("x-mini-26B-A4B", 4'000'000'000)),
              ElementsAre("x-mini-26B-A4B", "", "x-mini", "", "", "26B-A4B"));
  EXPECT_THAT(shown(parse_model_id("../x-7B", 7'000'000'000)),
              ElementsAre("x-7B", "", "x", "", "", "7B"));
  EXPECT_THAT(shown(parse_model_id("A fine model", 1)),
              ElementsAre("A fine model", "", "", "", "", ""));
  EXPECT_THAT(shown(parse_model_id("", 1)), ElementsAre("", "", "", "", "", ""));
  EXPECT_THAT(shown(parse_model_id("---", 1)), ElementsAre("---", "", "", "", "", ""));
}

TEST(GgufModelName, Titles) {
  EXPECT_EQ(title_of_id("phi-2"), "Phi 2");
  EXPECT_EQ(title_of_id("Phi-3-mini-4k-instruct"), "Phi 3 Mini 4k Instruct");
  EXPECT_EQ(title_of_id("phi4_tiny v1.2  iOS-v1x"), "Phi4_Tiny v1.2 iOS V1X");
  EXPECT_EQ(title_of_id(" - "), "");
}

TEST(GgufModelName, Sizes) {
  EXPECT_EQ(size_label(3'821'079'552, 0, 0), "3.8B");
  EXPECT_EQ(size_label(14'659'507'200, 0, 0), "15B");
  EXPECT_EQ(size_label(922'624, 0, 0), "923K");
  EXPECT_EQ(size_label(400, 0, 0), "0.40K");
  EXPECT_EQ(size_label(450'000, 325'000, 4), "4x775K");
}

std::string text_of(const std::vector<GgufKeyValue>& keys, std::string_view wanted) {
  for (const auto& [key, value] : keys)
    if (key == wanted)
      if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return "none";
}

// llama.cpp looks up Phi-3's tokens where the name says phi3, and throws where one is missing.
TEST(GgufGeneral, ANameNeverPromisesTokensThatAreNotThere) {
  Checkpoint c;
  c.folder = "my-phi3-phi3.5-PHI3";
  c.config_json = "{}";
  Vocabulary complete;
  complete.pieces = {"<unk>", "<s>", "</s>", "<|endoftext|>"};
  EXPECT_EQ(text_of(general_keys(c, complete), "general.name"), "My Phi3 Phi3.5 PHI3");
  for (size_t missing = 0; missing < complete.pieces.size(); ++missing) {
    Vocabulary other = complete;
    other.pieces[missing] = "x";
    EXPECT_EQ(text_of(general_keys(c, other), "general.name"), "My Phi 3 Phi 3.5 PHI 3");
  }
}

TEST(GgufGeneral, SamplingAndFolders) {
  Checkpoint c;
  c.folder = "some/where/phi-2/";
  c.config_json = R"({"_name_or_path": "a/path/to/it"})";
  c.generation_config_json = R"({"temperature": 0.5, "top_k": 50, "top_p": "no"})";
  const auto keys = general_keys(c, {});
  ASSERT_EQ(keys.size(), 7u);
  EXPECT_EQ(keys[1].key, "general.sampling.top_k");
  EXPECT_EQ(std::get<int32_t>(keys[1].value), 50);
  EXPECT_EQ(keys[2].key, "general.sampling.temp");
  EXPECT_EQ(std::get<float>(keys[2].value), 0.5f);
  EXPECT_EQ(text_of(keys, "general.name"), "Phi 2");
}

TEST(GgufArchitecture, ByTheBlock) {
  Checkpoint c;
  const auto name = [&] {
    auto found = gguf_architecture(c);
    return found ? *found : found.error().message;
  };
  EXPECT_EQ(name(), "phi3");
  c.decoder.norm = NormKind::layer;
  c.decoder.moe = MoE{4, 2, 0};
  EXPECT_EQ(name(), "phimoe");
  c.decoder.moe.reset();
  c.decoder.parallel_residual = true;
  c.decoder.gated_mlp = false;
  c.decoder.activation = Activation::gelu_tanh;
  EXPECT_EQ(name(), "phi2");
  c.folder = "x";
  c.architecture = "New";
  c.decoder.rope.long_branch.emplace();
  EXPECT_EQ(name(),
            "x: llama.cpp has no architecture with a block like that of New (known: phi2, phi3, "
            "phimoe)");
}

TEST(GgufMetadata, OrderIsThatOfTheToolWhichWritesTheType) {
  const auto c = open_checkpoint(std::string(PHIQUANT_TEST_DATA) + "/checkpoints/phi2-tiny");
  ASSERT_TRUE(c) << c.error().message;
  const auto f16 = gguf_metadata(*c, kGgufMostlyF16), q4 = gguf_metadata(*c, 15);
  ASSERT_TRUE(f16 && q4);
  EXPECT_EQ(f16->size(), 27u);
  EXPECT_EQ(f16->back().key, "tokenizer.ggml.add_eos_token");
  ASSERT_EQ(q4->size(), 27u);
  EXPECT_EQ((*q4)[25].key, "general.quantization_version");
  EXPECT_EQ((*q4)[26].key, "general.file_type");
  EXPECT_EQ(std::get<uint32_t>((*q4)[26].value), 15u);
}

}  // namespace
}  // namespace phiquant::format
