// The weights of a model of any format as floats that can be read: what compare and inspect see.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "model/checkpoint.h"
#include "quant/weight_source.h"

namespace phiquant {

struct NamedWeight {
  // Under its name in the file, or what the float model called it where codes have another name.
  // A linear is K = in, N = out; a table N = rows; a vector K = 1, N = its length.
  WeightSource source;
  std::string used_by;      // op type of its reader in a graph, else ""
  std::string description;  // how it is stored: "float16", "int4 block 32", "q4_k"
  // Which weight of a decoder it is, where that is known: tensors of two models are paired by it.
  // Fused ones (attn_qkv, mlp_gate_up) are cut to fit by whoever compares. Role::ignored: of no
  // use to a comparison (rotary tables).
  std::optional<WeightKey> key = std::nullopt;
  Shape shape = {};           // of the floats, outermost dimension first
  uint64_t size_bytes = 0;    // of all its parts in the file
  std::string location = {};  // the file that holds it, relative to the model's folder
};

struct ModelWeights {
  std::filesystem::path path;
  std::string format;  // "onnx", "genai", "checkpoint", "gguf", "mlx"
  std::vector<std::pair<std::string, std::string>> properties;  // name and value, in order
  std::vector<NamedWeight> weights;
  // Whether lm_head is the embedding table; empty: not known.
  std::optional<bool> tied_embeddings = std::nullopt;
  std::vector<std::filesystem::path> files;  // that were opened
  std::vector<std::string> warnings;
  uint64_t size_bytes = 0;  // of all files
};

}  // namespace phiquant
