// Opens a model of any known format as its weights. A new format is a row of the table in
// weights.cc.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "model/weights.h"
#include "phiquant/error.h"

namespace phiquant {

struct WeightsOptions {
  bool follow_symlinks = false;
};

struct WeightsReader {
  std::string_view format;
  // Whether the path is of that format: a look at names, at most at the first bytes of a file.
  bool (*matches)(const std::filesystem::path&);
  Result<ModelWeights> (*open)(const std::filesystem::path&, const WeightsOptions&);
  bool has_graph = false;  // an ONNX graph: inspect tells more of it
};

// In the order in which they are asked; the last one, ONNX, takes whatever no other does.
std::span<const WeightsReader> weights_readers();

const WeightsReader& weights_reader(const std::filesystem::path& path);

// Reads headers only. Errors: those of the format's reader.
Result<ModelWeights> open_weights(const std::filesystem::path& path,
                                  const WeightsOptions& options = {});

// The weight that a tensor of this name is in checkpoints of Phi, or in a graph as ONNX Runtime
// GenAI's model builder (and this program) names it. nullopt for other names.
std::optional<WeightKey> weight_key_of_name(std::string_view name);

}  // namespace phiquant
