// A made-up Phi-3 checkpoint of a few hundred bytes, to be damaged by tests: each test changes what
// it is about.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "wire/safetensors.h"

namespace phiquant::test {

using nlohmann::json;
namespace fs = std::filesystem;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "phiquant-checkpoint-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline void write_file(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

// A safetensors file: 8 bytes of length, the header's text, the data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>((header.size() >> (8 * i)) & 0xff);
  return out + header + data;
}

struct TestTensor {
  std::string dtype;
  std::vector<uint64_t> shape;
  std::string bytes;
};
using TestTensors = std::map<std::string, TestTensor>;

// Elements that tell tensors apart: byte i of the tensor is i + the sum of its name's characters.
inline TestTensor tensor(const std::string& name, std::vector<uint64_t> shape,
                         const std::string& dtype = "F16") {
  size_t n_bytes = dtype_bits(dtype_from_safetensors(dtype)) / 8, salt = 0;
  for (const uint64_t dim : shape) n_bytes *= dim;
  for (const char c : name) salt += static_cast<unsigned char>(c);
  TestTensor t{dtype, std::move(shape), std::string(n_bytes, '\0')};
  for (size_t i = 0; i < n_bytes; ++i)
    t.bytes[i] = static_cast<char>((i + salt) & 0x3f);  // small positive half floats
  return t;
}

inline TestTensor floats(std::vector<uint64_t> shape, const std::vector<float>& values) {
  TestTensor t{"F32", std::move(shape), std::string(values.size() * 4, '\0')};
  if (!values.empty()) std::memcpy(t.bytes.data(), values.data(), t.bytes.size());
  return t;
}

inline std::string safetensors_file(const TestTensors& tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& [name, t] : tensors) {
    header[name] = {{"dtype", t.dtype},
                    {"shape", t.shape},
                    {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
    data += t.bytes;
  }
  return safetensors_bytes(header.dump(), data);
}

// hidden 8, 2 heads of 4, FFN 6, vocabulary 16, one layer.
struct TinyCheckpoint {
  json config = {{"architectures", {"Phi3ForCausalLM"}},
                 {"model_type", "phi3"},
                 {"hidden_size", 8},
                 {"num_hidden_layers", 1},
                 {"num_attention_heads", 2},
                 {"intermediate_size", 6},
                 {"vocab_size", 16},
                 {"max_position_embeddings", 64},
                 {"original_max_position_embeddings", 64},
                 {"hidden_act", "silu"},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", 10000.0},
                 {"rope_scaling", nullptr},
                 {"sliding_window", nullptr},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2},
                 {"pad_token_id", 2},
                 {"tie_word_embeddings", false}};
  json generation = {{"bos_token_id", 1}, {"eos_token_id", {3, 2}}, {"pad_token_id", 2}};
  json tokenizer = {{"added_tokens", {{{"id", 3}, {"content", "<|end|>"}}}},
                    {"model",
                     {{"type", "BPE"},
                      {"vocab", {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}, {"a", 4}}},
                      {"merges", json::array()}}}};
  json tokenizer_config = {{"bos_token", "<s>"},
                           {"eos_token", {{"content", "<|end|>"}}},
                           {"added_tokens_decoder", {{"3", {{"content", "<|end|>"}}}}}};
  TestTensors tensors;

  TinyCheckpoint() {
    add("model.embed_tokens.weight", {16, 8});
    add("model.layers.0.input_layernorm.weight", {8});
    add("model.layers.0.self_attn.qkv_proj.weight", {24, 8});
    add("model.layers.0.self_attn.o_proj.weight", {8, 8});
    add("model.layers.0.post_attention_layernorm.weight", {8});
    add("model.layers.0.mlp.gate_up_proj.weight", {12, 8});
    add("model.layers.0.mlp.down_proj.weight", {8, 6});
    add("model.norm.weight", {8});
    add("lm_head.weight", {16, 8});
  }
  void add(const std::string& name, std::vector<uint64_t> shape, const std::string& dtype = "F16") {
    tensors[name] = tensor(name, std::move(shape), dtype);
  }
  // Writes all files, the tensors into model.safetensors.
  void write(const fs::path& folder) const {
    write_sidecars(folder);
    write_file(folder / "model.safetensors", safetensors_file(tensors));
  }
  void write_sidecars(const fs::path& folder) const {
    write_file(folder / "config.json", config.dump());
    if (!generation.is_null()) write_file(folder / "generation_config.json", generation.dump());
    if (!tokenizer.is_null()) write_file(folder / "tokenizer.json", tokenizer.dump());
    if (!tokenizer_config.is_null())
      write_file(folder / "tokenizer_config.json", tokenizer_config.dump());
  }
};

// "<Errc>: message", the folder's path written as F; "accepted" for a checkpoint that opens.
inline std::string outcome(const fs::path& folder, const CheckpointOptions& options = {}) {
  constexpr const char* kCodes[] = {"io", "usage", "corrupt", "unsupported", "verify", "cancelled"};
  const auto result = open_checkpoint(folder, options);
  if (result) return "accepted";
  const std::string& message = result.error().message;
  const std::string path = folder.string();
  std::string shown;
  size_t from = 0;
  for (size_t at = 0; (at = message.find(path, from)) != std::string::npos; from = at + path.size())
    shown.append(message, from, at - from).push_back('F');
  shown.append(message, from);
  return fmt::format("{}: {}", kCodes[static_cast<size_t>(result.error().code)], shown);
}
inline std::string outcome(const TinyCheckpoint& checkpoint,
                           const CheckpointOptions& options = {}) {
  const TemporaryFolder folder;
  checkpoint.write(folder.path());
  return outcome(folder.path(), options);
}

}  // namespace phiquant::test
