// config.json that is wrong, absurd, or at odds with the tensors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "model/tiny_checkpoint.h"

namespace phiquant {
namespace {

using namespace test;

std::string with(const std::function<void(TinyCheckpoint&)>& change) {
  TinyCheckpoint checkpoint;
  change(checkpoint);
  return outcome(checkpoint);
}
std::string with_config(const std::string& key, const json& value) {
  return with([&](TinyCheckpoint& c) { c.config[key] = value; });
}
std::string config_text(const std::string& text) {
  const TemporaryFolder folder;
  TinyCheckpoint().write(folder.path());
  write_file(folder.path() / "config.json", text);
  return outcome(folder.path());
}

const std::string kCorrupt = "corrupt: F/config.json: ",
                  kUnsupported = "unsupported: F/config.json: ";
const std::string kKnown =
    "(known: PhiForCausalLM, Phi3ForCausalLM, PhiMoEForCausalLM, PhimoeForCausalLM, "
    "Phi3VForCausalLM, Phi4MMForCausalLM, Phi4MultimodalForCausalLM, Phi3SmallForCausalLM)";

TEST(ConfigBad, Json) {
  EXPECT_EQ(config_text(""), kCorrupt + "the file is empty (incomplete download?)");
  EXPECT_EQ(config_text("[]"), kCorrupt + "not a JSON object");
  EXPECT_EQ(config_text("{\"a\":1,\"a\":2}"), kCorrupt + "key 'a' occurs twice");
  EXPECT_EQ(config_text("{\"a\":NaN}"),
            kCorrupt +
                "not valid JSON at byte 6: line 1, column 6: syntax error while parsing value - "
                "invalid literal; last read: "
                "'\"a\":N'");
  EXPECT_EQ(config_text(std::string(100, '[')), kUnsupported + "nested deeper than 64 levels");
  EXPECT_EQ(config_text("version https://git-lfs.github.com/spec/v1\n"),
            kCorrupt + "this is a Git LFS pointer, not the file (run `git lfs pull`)");
  EXPECT_EQ(config_text(std::string(4'000'001, ' ')),
            kUnsupported + "file has 4000001 bytes, at most 4000000 are read");
}

TEST(ConfigBad, Architecture) {
  EXPECT_EQ(with_config("architectures", {"LlamaForCausalLM"}),
            kUnsupported + "unknown architecture 'LlamaForCausalLM' " + kKnown);
  EXPECT_EQ(with_config("architectures", nullptr), "accepted");  // by model_type
  EXPECT_EQ(with([](auto& c) {
              c.config.erase("architectures");
              c.config["model_type"] = "gemma";
            }),
            kUnsupported + "unknown architecture 'gemma' " + kKnown);
  EXPECT_EQ(with_config("architectures", "Phi3ForCausalLM"),
            kCorrupt + "'architectures' is \"Phi3ForCausalLM\", wanted a list of texts");
  EXPECT_EQ(with_config("architectures", {"Phi4FlashForCausalLM"}),
            kUnsupported +
                "architecture Phi4FlashForCausalLM is not supported: its state-space layers are "
                "not implemented");
  EXPECT_EQ(with_config("architectures", {"Phi3VForCausalLM"}),
            kUnsupported +
                "Phi3VForCausalLM takes images or sound besides text, and only the text part can "
                "be converted (--text-only does that)");
  EXPECT_EQ(with_config("quantization_config", {{"quant_method", "gptq"}}),
            kUnsupported +
                "the weights are already quantized ('gptq'): take the checkpoint that they were "
                "made from");
}

TEST(ConfigBad, Numbers) {
  EXPECT_EQ(with([](auto& c) { c.config.erase("hidden_size"); }),
            kCorrupt + "'hidden_size' is missing");
  EXPECT_EQ(with([](auto& c) {
              c.config.erase("hidden_size");
              c.config["hiden_size"] = 8;
            }),
            kCorrupt + "'hidden_size' is missing (there is 'hiden_size')");
  EXPECT_EQ(with_config("hidden_size", 0),
            kCorrupt + "'hidden_size' is 0, wanted a whole number from 1 to 4194304");
  EXPECT_EQ(with_config("hidden_size", -8),
            kCorrupt + "'hidden_size' is -8, wanted a whole number from 1 to 4194304");
  EXPECT_EQ(with_config("hidden_size", 8.0),
            kCorrupt + "'hidden_size' is 8.0, wanted a whole number from 1 to 4194304");
  EXPECT_EQ(with_config("hidden_size", "8"),
            kCorrupt + "'hidden_size' is \"8\", wanted a whole number from 1 to 4194304");
  EXPECT_EQ(with_config("num_hidden_layers", 4000000000u),
            kCorrupt + "'num_hidden_layers' is 4000000000, wanted a whole number from 1 to 1024");
  EXPECT_EQ(
      with_config("vocab_size", uint64_t{1} << 63),
      kCorrupt + "'vocab_size' is 9223372036854775808, wanted a whole number from 1 to 16777216");
  EXPECT_EQ(with_config("num_attention_heads", 3),
            kCorrupt + "hidden_size 8 is not a multiple of num_attention_heads 3");
  EXPECT_EQ(with_config("num_key_value_heads", 4),
            kCorrupt + "num_attention_heads 2 is not a multiple of num_key_value_heads 4");
  EXPECT_EQ(with_config("rms_norm_eps", 0),
            kCorrupt + "'rms_norm_eps' is 0, wanted a number above 0");
  EXPECT_EQ(with_config("tie_word_embeddings", "no"),
            kCorrupt + "'tie_word_embeddings' is \"no\", wanted true or false");
  EXPECT_EQ(with_config("hidden_act", "relu"),
            kUnsupported +
                "unknown activation 'relu' (hidden_act; known: silu, swish, gelu_new, "
                "gelu_pytorch_tanh, gelu_fast)");
  EXPECT_EQ(with_config("eos_token_id", "</s>"),
            kCorrupt + "'eos_token_id' is \"</s>\", wanted a token id or a list of them");
}

json longrope(size_t n_short, size_t n_long) {
  return {{"type", "longrope"},
          {"short_factor", std::vector<double>(n_short, 1.0)},
          {"long_factor", std::vector<double>(n_long, 2.0)}};
}

TEST(ConfigBad, Rope) {
  const std::string in = "corrupt: F/config.json: rope_scaling: ",
                    lists = " numbers, wanted 2 (half of the rotated dimensions of a head)";
  EXPECT_EQ(with_config("rope_scaling", longrope(2, 2)), "accepted");
  EXPECT_EQ(with_config("rope_scaling", longrope(1, 2)), in + "'short_factor' has 1" + lists);
  EXPECT_EQ(with_config("rope_scaling", longrope(2, 3)), in + "'long_factor' has 3" + lists);
  EXPECT_EQ(with_config("rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 1}}}),
            in + "'long_factor' is missing");
  EXPECT_EQ(with_config("rope_scaling", {{"type", "longrope"}, {"short_factor", {1, -1}}}),
            in + "'short_factor' holds -1, wanted numbers above 0");
  EXPECT_EQ(with_config("rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 1e300}}}),
            in + "'short_factor' holds 1e+300, wanted numbers above 0");
  EXPECT_EQ(with_config("rope_scaling", {{"type", "yarn"}}),
            kUnsupported + "unknown rope type 'yarn' (known: default, longrope, su)");
  EXPECT_EQ(with_config("rope_scaling", 3), kCorrupt + "'rope_scaling' is 3, wanted an object");
  EXPECT_EQ(with([](auto& c) {
              c.config["rope_scaling"] = longrope(2, 2);
              c.config.erase("original_max_position_embeddings");
            }),
            kCorrupt + "'original_max_position_embeddings' is missing");
  EXPECT_EQ(with([](auto& c) {
              c.config["rope_scaling"] = longrope(2, 2);
              c.config["original_max_position_embeddings"] = 1;
            }),
            kCorrupt + "'original_max_position_embeddings' is 1, wanted at least 2");
  EXPECT_EQ(with_config("partial_rotary_factor", 0.75),
            kCorrupt +
                "partial_rotary_factor 0.75 of a head of 4 rotates 3 dimensions, wanted an even "
                "number from 2 to 4");
  EXPECT_EQ(with_config("partial_rotary_factor", 2),
            kCorrupt +
                "partial_rotary_factor 2 of a head of 4 rotates 8 dimensions, wanted an even "
                "number from 2 to 4");
}

TEST(ConfigBad, TensorsThatDoNotFit) {
  EXPECT_EQ(with([](auto& c) { c.tensors.erase("model.norm.weight"); }),
            "corrupt: F: 1 tensor is missing: 'model.norm.weight' (incomplete download, or a "
            "config.json of another model?)");
  EXPECT_EQ(with_config("num_hidden_layers", 3),
            "corrupt: F: 12 tensors are missing: 'model.layers.1.input_layernorm.weight', "
            "'model.layers.2.input_layernorm.weight', "
            "'model.layers.1.self_attn.qkv_proj.weight' and 9 more (incomplete download, or a "
            "config.json of another model?)");
  EXPECT_EQ(with([](auto& c) { c.add("model.layers.0.mlp.secret.weight", {8}); }),
            "corrupt: F: 1 tensor is not of Phi3ForCausalLM as config.json describes it: "
            "'model.layers.0.mlp.secret.weight'");
  EXPECT_EQ(with([](auto& c) {
              c.add("model.layers.0.self_attn.o_proj.bias", {8});
              c.add("model.layers.00.self_attn.o_proj.weight", {8, 8});
            }),
            "corrupt: F: 2 tensors are not of Phi3ForCausalLM as config.json describes it: "
            "'model.layers.0.self_attn.o_proj.bias', "
            "'model.layers.00.self_attn.o_proj.weight'");
  EXPECT_EQ(with([](auto& c) { c.add("model.layers.1.input_layernorm.weight", {8}); }),
            "corrupt: F/model.safetensors: tensor 'model.layers.1.input_layernorm.weight': layer "
            "1, config.json has num_hidden_layers 1");
  EXPECT_EQ(with([](auto& c) {
              c.add("model.layers.0.mlp.gate_up_proj.weight", {6, 8});
            }),
            "corrupt: F/model.safetensors: tensor 'model.layers.0.mlp.gate_up_proj.weight': shape "
            "[6, 8], config.json wants [12, 8]");
  EXPECT_EQ(with_config("vocab_size", 17),
            "corrupt: F/model.safetensors: tensor 'lm_head.weight': shape [16, 8], config.json "
            "wants [17, 8]");
  EXPECT_EQ(with([](auto& c) { c.add("model.norm.weight", {8}, "I8"); }),
            "unsupported: F/model.safetensors: tensor 'model.norm.weight': int8 weights are not "
            "read, wanted float32, float16, bfloat16 or float8");
}

TEST(ConfigBad, PhiAndPhiMoe) {
  const auto phi = [](TinyCheckpoint& c) { c.config["architectures"] = {"PhiForCausalLM"}; };
  EXPECT_EQ(with(phi), kCorrupt + "'partial_rotary_factor' is missing");
  EXPECT_EQ(with([&](auto& c) {
              phi(c);
              c.config["partial_rotary_factor"] = 0.5;
              c.config["qk_layernorm"] = true;
            }),
            kUnsupported + "qk_layernorm is true (no published Phi has it)");
  EXPECT_EQ(with([&](auto& c) {
              phi(c);
              c.config["partial_rotary_factor"] = 0.5;
            }),
            kCorrupt + "'layer_norm_eps' is missing");
  const auto moe = [](TinyCheckpoint& c) {
    c.config["architectures"] = {"PhiMoEForCausalLM"};
    c.config["num_local_experts"] = 2;
  };
  EXPECT_EQ(with([&](auto& c) {
              moe(c);
              c.config["num_experts_per_tok"] = 1;
            }),
            kUnsupported +
                "num_experts_per_tok and num_local_experts: the sparse mixer picks 2 of at least 2 "
                "experts");
  EXPECT_EQ(with([&](auto& c) {
              moe(c);
              c.config["num_experts_per_tok"] = 2;
              c.config["num_local_experts"] = 1000000;
            }),
            kCorrupt + "'num_local_experts' is 1000000, wanted a whole number from 1 to 1024");
}

}  // namespace
}  // namespace phiquant
