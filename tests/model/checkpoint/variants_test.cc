// What checkpoints may look like besides the bundled ones: newer configs, ties, tokenizers,
// adapters, packed experts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/tiny_checkpoint.h"

namespace phiquant {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::IsEmpty;

Checkpoint open(const TinyCheckpoint& tiny, const TemporaryFolder& folder,
                const CheckpointOptions& options = {}) {
  tiny.write(folder.path());
  auto c = open_checkpoint(folder.path(), options);
  EXPECT_TRUE(c) << (c ? "" : c.error().message);
  return c ? std::move(*c) : Checkpoint{};
}
Checkpoint open(const TinyCheckpoint& tiny, const CheckpointOptions& options = {}) {
  return open(tiny, TemporaryFolder(), options);
}

std::string bytes_of(const SourceTensor& tensor) {
  std::string out(tensor.bytes->size_bytes(), '\0');
  EXPECT_TRUE(tensor.bytes->read(0, std::as_writable_bytes(std::span(out))));
  return out;
}

json longrope() {
  return {{"rope_type", "longrope"}, {"short_factor", {1.5, 2}}, {"long_factor", {3, 4}}};
}

TEST(CheckpointRope, NewerConfigsKeepItInRopeParameters) {
  TinyCheckpoint tiny;
  for (const char* key : {"rope_scaling", "rope_theta", "original_max_position_embeddings"})
    tiny.config.erase(key);
  tiny.config["rope_parameters"] = longrope();
  tiny.config["rope_parameters"].update(
      {{"rope_theta", 500.0}, {"original_max_position_embeddings", 16}});
  const Checkpoint c = open(tiny);
  const Rope& rope = c.decoder.rope;
  EXPECT_EQ(rope.theta, 500);
  EXPECT_EQ(rope.original_context, 16u);
  EXPECT_THAT(rope.short_branch.factors, ElementsAre(1.5f, 2.0f));
  EXPECT_THAT(rope.long_branch->factors, ElementsAre(3.0f, 4.0f));
  EXPECT_EQ(rope.long_branch->attention_factor, std::sqrt(1.5f));  // 1 + ln(64 / 16) / ln 16
}

TEST(CheckpointRope, AttentionFactor) {
  TinyCheckpoint tiny;
  tiny.config["rope_scaling"] = longrope();
  const auto factors = [&] {
    const Checkpoint c = open(tiny);
    const Rope& rope = c.decoder.rope;
    return std::pair(rope.short_branch.attention_factor, rope.long_branch->attention_factor);
  };
  EXPECT_EQ(factors(), std::pair(1.0f, 1.0f));  // the context has not grown
  tiny.config["rope_scaling"]["factor"] = 64;
  EXPECT_EQ(factors(), std::pair(std::sqrt(2.0f), std::sqrt(2.0f)));
  tiny.config["rope_scaling"]["attention_factor"] = 1.25;
  EXPECT_EQ(factors(), std::pair(1.25f, 1.25f));
  tiny.config["rope_scaling"]["short_mscale"] = 1.5;
  tiny.config["rope_scaling"]["long_mscale"] = 1.75;
  EXPECT_EQ(factors(), std::pair(1.5f, 1.75f));
  tiny.config["rope_scaling"].update({{"rope_type", nullptr}, {"type", "su"}});
  EXPECT_EQ(factors(), std::pair(1.5f, 1.75f));
}

TEST(CheckpointTied, AbsentHeadNeedsAConfigThatAllowsIt) {
  TinyCheckpoint tiny;
  tiny.tensors.erase("lm_head.weight");
  EXPECT_EQ(outcome(tiny),
            "corrupt: F: 1 tensor is missing: 'lm_head.weight' (incomplete download, or a "
            "config.json of another model?)");
  tiny.config["tie_word_embeddings"] = true;
  EXPECT_TRUE(open(tiny).decoder.tied_embeddings);
  tiny.config.erase("tie_word_embeddings");
  EXPECT_TRUE(open(tiny).decoder.tied_embeddings);
}

TEST(CheckpointTied, StoredHeadIsCompared) {
  TinyCheckpoint tiny;
  tiny.config["tie_word_embeddings"] = true;
  const Checkpoint different = open(tiny);
  EXPECT_FALSE(different.decoder.tied_embeddings);
  EXPECT_NE(different.find(Role::lm_head), nullptr);
  EXPECT_THAT(different.warnings, ElementsAre("config.json ties lm_head to the embeddings, but "
                                              "both are stored and differ: both are used"));
  tiny.config["tie_word_embeddings"] = false;
  EXPECT_THAT(open(tiny).warnings, IsEmpty());
  tiny.tensors["lm_head.weight"] = tiny.tensors["model.embed_tokens.weight"];
  const Checkpoint same = open(tiny);
  EXPECT_TRUE(same.decoder.tied_embeddings);
  EXPECT_EQ(same.find(Role::lm_head), nullptr);
  tiny.tensors["lm_head.weight"].bytes.back() ^= 1;  // the last byte counts
  EXPECT_FALSE(open(tiny).decoder.tied_embeddings);
}

TEST(CheckpointTokenizer, Conflicts) {
  TinyCheckpoint tiny;
  tiny.config["eos_token_id"] = {2, 5};
  tiny.generation["bos_token_id"] = 4;
  tiny.generation["pad_token_id"] = -1;
  tiny.tokenizer_config["eos_token"] = "a";
  tiny.tokenizer_config["pad_token"] = "<pad>";
  tiny.tokenizer_config["added_tokens_decoder"] = {{"3", {{"content", "<|stop|>"}}}};
  const Checkpoint c = open(tiny);
  EXPECT_THAT(c.tokens.eos, ElementsAre(3, 2, 5));
  EXPECT_EQ(c.tokens.bos, 4);
  EXPECT_THAT(
      c.warnings,
      ElementsAre("eos_token_id is [2, 5] in config.json and [3, 2] in generation_config.json",
                  "bos_token_id is 1 in config.json and 4 in generation_config.json",
                  "pad_token_id is 2 in config.json and -1 in generation_config.json",
                  "pad_token_id -1 is outside the vocabulary of 16",
                  "bos_token of tokenizer_config.json is '<s>', id 1; config.json and "
                  "generation_config.json say 4",
                  "eos_token of tokenizer_config.json is 'a', id 4; config.json and "
                  "generation_config.json say [3, 2, 5]",
                  "pad_token '<pad>' of tokenizer_config.json is not in tokenizer.json",
                  "tokenizer_config.json and tokenizer.json disagree about 1 added token: "
                  "'<|stop|>' is 3 there and absent here"));
}

TEST(CheckpointTokenizer, Vocabulary) {
  TinyCheckpoint tiny;
  tiny.tokenizer["model"]["vocab"]["b"] = 15;
  EXPECT_EQ(outcome(tiny), "accepted");
  tiny.tokenizer["model"]["vocab"]["b"] = 16;
  EXPECT_EQ(outcome(tiny),
            "corrupt: F/tokenizer.json: token 'b' has id 16, config.json has vocab_size 16 (the "
            "tokenizer of another model?)");
  tiny.tokenizer["model"]["vocab"]["b"] = -1;
  EXPECT_EQ(outcome(tiny),
            "corrupt: F/tokenizer.json: token 'b': its id is not a whole number from 0");
  tiny.tokenizer["model"]["vocab"].erase("b");
  tiny.tokenizer["added_tokens"].push_back({{"id", 20}, {"content", "<|x|>"}});
  EXPECT_EQ(outcome(tiny),
            "corrupt: F/tokenizer.json: token '<|x|>' has id 20, config.json has vocab_size 16 "
            "(the tokenizer of another model?)");
  tiny.tokenizer["added_tokens"].back() = {{"id", 5}};
  EXPECT_EQ(outcome(tiny),
            "corrupt: F/tokenizer.json: an entry of added_tokens has no content or no id");
  // Unigram: a list, positions are ids.
  tiny = TinyCheckpoint();
  tiny.tokenizer["model"]["vocab"] =
      json::array({json::array({"<unk>", 0.0}), json::array({"<s>", -1.5})});
  EXPECT_THAT(open(tiny).warnings, IsEmpty());
  for (int i = 0; i < 15; ++i)
    tiny.tokenizer["model"]["vocab"].push_back(json::array({fmt::format("p{}", i), -2}));
  EXPECT_EQ(outcome(tiny),
            "corrupt: F/tokenizer.json: token 'p14' has id 16, config.json has vocab_size 16 (the "
            "tokenizer of another model?)");
}

TEST(CheckpointTokenizer, MissingIsAWarning) {
  TinyCheckpoint tiny;
  tiny.tokenizer = tiny.tokenizer_config = nullptr;
  const Checkpoint c = open(tiny);
  EXPECT_THAT(c.sidecars, IsEmpty());
  EXPECT_THAT(c.warnings, ElementsAre("tokenizer.json is missing and so is every other tokenizer "
                                      "file: the output runs, but cannot encode text"));
  tiny.generation = nullptr;
  tiny.config.erase("eos_token_id");
  const Checkpoint no_eos = open(tiny);
  EXPECT_EQ(no_eos.generation_config_json, "");
  EXPECT_EQ(no_eos.warnings.front(),
            "no eos_token_id in config.json and generation_config.json: generation will not stop "
            "by itself");
}

TEST(CheckpointTokenizer, Sidecars) {
  const TemporaryFolder folder;
  for (const char* name : {"tokenizer.model", "chat_template.jinja", "LICENSE", "NOTICE.txt",
                           "README.md", "modeling_phi3.py"})
    write_file(folder.path() / name, name);
  const Checkpoint c = open(TinyCheckpoint(), folder);
  std::vector<std::string> names;
  for (const fs::path& path : c.sidecars) names.push_back(path.filename().string());
  EXPECT_THAT(names, ElementsAre("LICENSE", "NOTICE.txt", "chat_template.jinja", "tokenizer.json",
                                 "tokenizer.model", "tokenizer_config.json"));
  EXPECT_EQ(c.files.size(), 3u + 6);
}

// Phi-4-multimodal: base layers, two adapters of rank 2 and 1 on down_proj.
TinyCheckpoint multimodal() {
  TinyCheckpoint tiny;
  tiny.config.update({{"architectures", {"Phi4MMForCausalLM"}},
                      {"vision_lora", {{"r", 2}, {"lora_alpha", 4}}},
                      {"speech_lora", {{"r", 1}, {"lora_alpha", 3}}}});
  for (const char* linear :
       {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"}) {
    auto node = tiny.tensors.extract(std::string("model.layers.0.") + linear + ".weight");
    node.key() = std::string("model.layers.0.") + linear + ".base_layer.weight";
    tiny.tensors.insert(std::move(node));
  }
  const std::string down = "model.layers.0.mlp.down_proj.";
  std::vector<float> w(48), a(12), b(16);
  for (size_t i = 0; i < 48; ++i) w[i] = static_cast<float>(i);
  for (size_t i = 0; i < 12; ++i) a[i] = static_cast<float>(i) - 5;
  for (size_t i = 0; i < 16; ++i) b[i] = static_cast<float>(i) / 4;
  tiny.tensors[down + "base_layer.weight"] = floats({8, 6}, w);
  tiny.tensors[down + "lora_A.vision.weight"] = floats({2, 6}, a);
  tiny.tensors[down + "lora_B.vision.weight"] = floats({8, 2}, b);
  tiny.tensors[down + "lora_A.speech.weight"] = tensor("x", {1, 6}, "BF16");
  tiny.tensors[down + "lora_B.speech.weight"] = tensor("x", {8, 1}, "BF16");
  tiny.tensors["model.embed_tokens_extend.image_embed.anything"] = tensor("x", {3, 3, 3}, "BF16");
  return tiny;
}

TEST(CheckpointMultimodal, TextOnlyLeavesTheRestOut) {
  EXPECT_THAT(
      outcome(multimodal()),
      testing::StartsWith(
          "unsupported: F/config.json: Phi4MMForCausalLM takes images or sound besides text"));
  CheckpointOptions options;
  options.text_only = true;
  const TemporaryFolder folder;
  const Checkpoint c = open(multimodal(), folder, options);
  EXPECT_EQ(c.left_out.size(), 5u);
  EXPECT_EQ(c.left_out.front(), "model.embed_tokens_extend.image_embed.anything");
  EXPECT_EQ(c.find(Role::mlp_down, 0)->name, "model.layers.0.mlp.down_proj.base_layer.weight");
  EXPECT_EQ(bytes_of(*c.find(Role::mlp_down, 0)),
            multimodal().tensors["model.layers.0.mlp.down_proj.base_layer.weight"].bytes);
}

TEST(CheckpointMultimodal, MergedAdapter) {
  const TemporaryFolder folder;
  const Checkpoint c =
      open(multimodal(), folder, {.text_only = true, .merge_lora = MergeLora::vision});
  EXPECT_EQ(c.left_out.size(), 3u);  // the speech adapter and the image part
  const SourceTensor& down = *c.find(Role::mlp_down, 0);
  EXPECT_EQ(down.dtype, DType::f32);
  EXPECT_EQ(c.dtype, DType::f16);
  std::vector<float> merged(48);
  ASSERT_TRUE(down.bytes->read(0, std::as_writable_bytes(std::span(merged))));
  for (size_t o = 0; o < 8; ++o)
    for (size_t i = 0; i < 6; ++i) {  // exact in float32: quarters of small numbers; alpha / r = 2
      const auto A = [&](size_t j) { return static_cast<float>(j * 6 + i) - 5; };
      const auto B = [&](size_t j) { return static_cast<float>(o * 2 + j) / 4; };
      EXPECT_EQ(merged[o * 6 + i], static_cast<float>(o * 6 + i) + 2 * (B(0) * A(0) + B(1) * A(1)))
          << o << ' ' << i;
    }
  // Any range has the bytes of the whole.
  const std::string whole = bytes_of(down);
  for (size_t begin = 0; begin < whole.size(); begin += 5)
    for (size_t n : {1, 3, 8, 29, 101}) {
      std::string part(std::min(n, whole.size() - begin), '\0');
      ASSERT_TRUE(down.bytes->read(begin, std::as_writable_bytes(std::span(part))));
      EXPECT_EQ(part, whole.substr(begin, n)) << begin << ' ' << n;
    }
  EXPECT_EQ(c.find(Role::attn_out, 0)->dtype, DType::f16);  // has no adapter here
}

TEST(CheckpointMultimodal, AdaptersThatCannotBeMerged) {
  const CheckpointOptions vision{.text_only = true, .merge_lora = MergeLora::vision};
  EXPECT_EQ(outcome(TinyCheckpoint(), vision),
            "usage: --merge-lora: Phi3ForCausalLM has no adapters of its own");
  TinyCheckpoint tiny = multimodal();
  tiny.config.erase("vision_lora");
  EXPECT_EQ(outcome(tiny, vision),
            "unsupported: F/config.json: there is no 'vision_lora' to merge (architecture "
            "Phi4MMForCausalLM)");
  tiny = multimodal();
  tiny.config["vision_lora"]["r"] = 3;
  EXPECT_EQ(
      outcome(tiny, vision),
      "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.down_proj.lora_A.vision.weight': "
      "shape [2, 6], config.json wants [3, 6]");
  tiny = multimodal();
  tiny.tensors.erase("model.layers.0.mlp.down_proj.lora_B.vision.weight");
  EXPECT_EQ(outcome(tiny, vision),
            "corrupt: F/model.safetensors: tensor "
            "'model.layers.0.mlp.down_proj.lora_A.vision.weight': its partner lora_B is missing");
  tiny.tensors.erase("model.layers.0.mlp.down_proj.lora_A.vision.weight");
  EXPECT_EQ(outcome(tiny, vision),
            "corrupt: F: no tensor of the adapter 'vision' (*.lora_A.vision.weight)");
  tiny = multimodal();
  tiny.add("model.layers.0.self_attn.o_proj.weight", {8, 8});
  EXPECT_EQ(outcome(tiny, vision),
            "corrupt: F: tensors 'model.layers.0.self_attn.o_proj.base_layer.weight' and "
            "'model.layers.0.self_attn.o_proj.weight' are the same weight");
}

TEST(CheckpointMultimodal, Phi3Vision) {
  TinyCheckpoint tiny;
  tiny.config["architectures"] = {"Phi3VForCausalLM"};
  tiny.add("model.vision_embed_tokens.glb_GN", {1, 1, 4});
  EXPECT_THAT(open(tiny, {.text_only = true}).left_out,
              ElementsAre("model.vision_embed_tokens.glb_GN"));
}

TEST(CheckpointMoe, PackedExpertsAreSlices) {
  TinyCheckpoint tiny;
  tiny.config.update({{"architectures", {"PhimoeForCausalLM"}},
                      {"num_local_experts", 3},
                      {"num_experts_per_tok", 2}});
  const std::string layer = "model.layers.0.";
  for (const char* name :
       {"self_attn.qkv_proj.weight", "mlp.gate_up_proj.weight", "mlp.down_proj.weight"})
    tiny.tensors.erase(layer + name);
  for (const char* name : {"q", "k", "v"})
    tiny.add(layer + "self_attn." + name + "_proj.weight", {8, 8});
  for (const char* name : {"input_layernorm.bias", "post_attention_layernorm.bias"})
    tiny.add(layer + name, {8});
  tiny.add("model.norm.bias", {8});
  tiny.add(layer + "mlp.router.weight", {3, 8});
  tiny.add(layer + "mlp.experts.gate_up_proj", {3, 12, 8});
  tiny.add(layer + "mlp.experts.down_proj", {3, 8, 6});
  const TemporaryFolder folder;
  const Checkpoint c = open(tiny, folder);
  const std::string& gate_up = tiny.tensors[layer + "mlp.experts.gate_up_proj"].bytes;
  const SourceTensor& up = *c.find(Role::expert_up, 0, false, 2);
  EXPECT_EQ(up.shape, (Shape{6, 8}));
  EXPECT_EQ(bytes_of(up), gate_up.substr((2 * 12 + 6) * 8 * 2, 6 * 8 * 2));
  EXPECT_EQ(bytes_of(*c.find(Role::expert_gate, 0, false, 0)), gate_up.substr(0, 6 * 8 * 2));
  EXPECT_EQ(bytes_of(*c.find(Role::expert_down, 0, false, 1)),
            tiny.tensors[layer + "mlp.experts.down_proj"].bytes.substr(8 * 6 * 2, 8 * 6 * 2));
  EXPECT_EQ(c.decoder.moe->jitter_eps, 0.01f);  // the class's default
}

}  // namespace
}  // namespace phiquant
