#include "format/gguf_weights.h"

#include <algorithm>
#include <map>
#include <utility>

#include <fmt/core.h>

#include "core/input_file.h"
#include "format/gguf_mix.h"
#include "phiquant/sources.h"
#include "wire/gguf_names.h"

namespace phiquant {
namespace {

GgufWeight rope_factors(const char* name, const std::vector<float>& factors) {
  const std::string_view bytes(reinterpret_cast<const char*>(factors.data()),
                               factors.size() * sizeof(float));
  return {name,
          {name, DType::f32, {factors.size()}, memory_source(std::string(bytes))},
          kGgmlF32,
          nullptr,
          "other"};
}

void sort_weights(std::vector<GgufWeight>& weights) {
  std::sort(weights.begin(), weights.end(),
            [](const GgufWeight& a, const GgufWeight& b) { return gguf_order(a.name, b.name); });
}

// Experts are one tensor, one expert behind the other.
SourceTensor joined(std::string name, const std::vector<SourceTensor>& parts, bool stack) {
  SourceTensor whole = parts.front();
  if (stack) {
    whole = concat_rows(name, parts);
    whole.shape.front() /= parts.size();
    whole.shape.insert(whole.shape.begin(), parts.size());
  }
  whole.name = std::move(name);
  return whole;
}

}  // namespace

std::string gguf_role(const std::string& name, const Shape& shape) {
  if (name == "token_embd.weight") return "embedding";
  if (name == "output.weight") return "lm_head";
  if (name.find("_norm.") != std::string::npos) return "norm";
  return shape.size() > 1 ? "linear" : "other";
}

std::vector<GgufWeight> gguf_weights(const Checkpoint& checkpoint) {
  // Keys are ordered by role, layer and expert, so that the parts of a stack come in their order.
  std::map<std::string, std::vector<SourceTensor>> parts;
  std::map<std::string, bool> is_stack;
  for (const auto& [key, source] : checkpoint.weights) {
    const std::string name = gguf_name(key);
    if (name.empty()) continue;
    parts[name].push_back(source);
    is_stack[name] = key.expert >= 0;
  }
  std::vector<GgufWeight> weights;
  for (const auto& [name, sources] : parts) {
    SourceTensor floats = joined(name, sources, is_stack[name]);
    std::string role = gguf_role(name, floats.shape);
    weights.push_back({name, std::move(floats), kGgmlF32, nullptr, std::move(role)});
  }
  const Rope& rope = checkpoint.decoder.rope;
  if (rope.long_branch) {
    weights.push_back(rope_factors(kGgufRopeLong, rope.long_branch->factors));
    weights.push_back(rope_factors(kGgufRopeShort, rope.short_branch.factors));
  }
  sort_weights(weights);
  return weights;
}

std::vector<GgufWeight> gguf_weights(const GgufModel& model) {
  std::vector<GgufWeight> weights;
  for (const GgufTensor& t : model.tensors)
    weights.push_back(
        {t.name, t.floats, static_cast<GgmlType>(t.type_id), t.bytes, gguf_role(t.name, t.shape)});
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i].floats.name = model.tensors[i].name;
    weights[i].floats.shape = model.tensors[i].shape;
  }
  sort_weights(weights);
  return weights;
}

}  // namespace phiquant
