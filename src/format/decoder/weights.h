// The matrices and tables of a decoder as a graph takes them: what the checkpoint keeps fused is
// cut, what the graph wants packed is joined, and each has its place in the graph's names. Names
// are those of ONNX Runtime GenAI's model builder (onnxruntime-genai 0.18).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "decide/slot.h"
#include "model/checkpoint.h"

namespace phiquant::format {

struct GraphWeight {
  Slot slot;          // with the names that it has in the graph: initializer and node
  std::string path;   // "/model/layers.0/attn/q_proj": nodes and tensors are named after it
  SourceTensor rows;  // [n, k]
  std::optional<SourceTensor> bias;
};

// What a graph wants of its weights.
struct WeightLayout {
  bool packed_qkv = false;  // q, k and v as one matrix
  // Layers whose experts are stored one behind the other for one operator; of the others each
  // expert is a matrix.
  std::vector<bool> stacked_experts;
  DType io = DType::f32;  // of activations and float weights
};

// Those of a checkpoint, in the order in which a graph computes with them.
class GraphWeights {
 public:
  // Errors: unsupported, where a weight that the block needs is missing.
  static Result<GraphWeights> collect(const Checkpoint& checkpoint, const WeightLayout& layout);

  const std::vector<GraphWeight>& all() const { return all_; }
  std::vector<Slot> slots() const;
  // The index into all(); the block's description says that it is there.
  size_t index(const WeightKey& key) const { return index_.at(key); }
  bool has(const WeightKey& key) const { return index_.contains(key); }

 private:
  friend class WeightCollector;
  std::vector<GraphWeight> all_;
  std::map<WeightKey, size_t> index_;
};

// "/model/layers.3/mlp/down_proj" for (3, "mlp/down_proj").
std::string layer_path(int32_t layer, const std::string& rest);
// "/model/layers.3/mlp" -> "model.layers.3.mlp".
std::string dotted(const std::string& path);

}  // namespace phiquant::format
