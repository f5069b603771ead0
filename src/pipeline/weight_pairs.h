// Which weight of one model is which of another.
#pragma once

#include <string>
#include <vector>

#include "model/weights.h"
#include "phiquant/error.h"

namespace phiquant {

// Columns n0 .. n0 + n of a weight (rows of an [N, K] tensor, elements of a vector).
struct WeightPart {
  const NamedWeight* weight = nullptr;
  uint64_t n0 = 0, n = 0;
  bool is_whole() const { return n == weight->source.n; }
};

// The name, with the rows where the part is not the whole: "qkv_proj.weight[0:3072]".
std::string part_name(const WeightPart& part);

struct WeightPair {
  WeightPart a, b;
};

struct WeightPairs {
  std::vector<WeightPair> pairs;            // in the order of A
  std::vector<std::string> only_a, only_b;  // names without a partner
};

// Pairs weights of one key, then those of one name. A fused tensor is cut where the other model has
// its parts instead; an embedding table is the lm_head too where one table serves for both. Rotary
// tables take no part. Both models must outlive the result. Error verify: a pair of different
// shapes, or no pair at all (not the same model).
Result<WeightPairs> pair_weights(const ModelWeights& a, const ModelWeights& b);

}  // namespace phiquant
