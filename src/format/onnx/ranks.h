// Ranks of values: what the model declares, and what follows from common operators.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "format/onnx/graph.h"

namespace phiquant::format {

class Ranks {
 public:
  // Reads the nodes as they are now; `index` must outlive this.
  explicit Ranks(const GraphIndex& index);
  // Number of dimensions of a value seen from `scope`; nullopt where it does not follow.
  std::optional<int64_t> of(const Scope& scope, const std::string& name) const;

 private:
  using Rank = std::optional<int64_t>;
  void declare(const Scope& scope);
  Rank deduced(const Scope& scope, const onnx::NodeProto& node) const;
  Rank reshaped(const Scope& scope, const onnx::NodeProto& node) const;
  // Elements of a vector of integers, such as the shape that Reshape takes.
  Rank length(const Scope& scope, const std::string& name, int depth) const;
  Rank slice_length(const Scope& scope, const onnx::NodeProto& node, int depth) const;

  std::unordered_map<const Scope*, std::unordered_map<std::string, int64_t>> ranks_;
};

// The values of a constant int32 or int64 vector or scalar; nullopt where `name` is none or its
// bytes are not loaded.
std::optional<std::vector<int64_t>> constant_ints(const Scope& scope, const std::string& name);

}  // namespace phiquant::format
