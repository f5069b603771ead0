#include "format/gguf/weights.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include <fmt/core.h>

#include "core/input_file.h"
#include "core/sources.h"
#include "model/gguf/names.h"

namespace phiquant {
namespace {

GgufWeight rope_factors(const char* name, const std::vector<float>& factors) {
  const std::string_view bytes(reinterpret_cast<const char*>(factors.data()),
                               factors.size() * sizeof(float));
  return {name,
          {name, DType::f32, {factors.size()}, memory_source(std::string(bytes))},
          kGgmlF32,
          nullptr,
          std::nullopt};
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

// The block of "blk.3.attn_q.weight"; -1 outside the blocks.
int64_t layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return -1;
  int64_t layer = -1;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
  return layer;
}

bool is_norm(const WeightKey& key) {
  return key.role == Role::attn_norm || key.role == Role::mlp_norm || key.role == Role::final_norm;
}

SlotKind kind_of(const GgufWeight& w) {
  // ggml does not count outer dimensions of 1.
  const Shape& shape = w.floats.shape;
  const auto outer = std::find_if(shape.begin(), shape.end(), [](uint64_t n) { return n != 1; });
  if (shape.end() - outer < 2 || !w.name.ends_with("weight") || (w.key && is_norm(*w.key)))
    return SlotKind::vector;
  if (w.key && w.key->role == Role::embed) return SlotKind::table;
  return w.key && w.key->expert >= 0 ? SlotKind::experts : SlotKind::linear;
}

}  // namespace

bool gguf_order(std::string_view a, std::string_view b) {
  const int64_t x = layer_of(a), y = layer_of(b);
  return x != y ? x < y : a < b;
}

std::vector<Slot> gguf_slots(const std::vector<GgufWeight>& weights) {
  std::vector<Slot> slots;
  for (const GgufWeight& w : weights) {
    const Shape& shape = w.floats.shape;
    Slot slot;
    slot.key = w.key;
    slot.kind = kind_of(w);
    slot.tensor = w.name;
    slot.shape = shape;
    slot.k = shape.empty() ? 1 : shape.back();
    slot.n = shape.size() > 1 ? shape[shape.size() - 2] : 1;
    slot.stack = shape.size() > 2 ? shape[shape.size() - 3] : 1;
    slot.dtype = w.floats.dtype;
    slot.bytes = w.bytes ? w.bytes->size_bytes() : w.floats.bytes->size_bytes();
    const GgmlTypeInfo& stored = *find_ggml_type(w.stored);
    slot.stored = StoredAs{stored.name, w.stored};
    if (slot.is(Role::router)) slot.must_stay = "routers are never quantized";
    slots.push_back(std::move(slot));
  }
  return slots;
}

std::vector<GgufWeight> gguf_weights(const Checkpoint& checkpoint) {
  // Keys are ordered by role, layer and expert, so that the parts of a stack come in their order.
  std::map<std::string, std::vector<SourceTensor>> parts;
  std::map<std::string, WeightKey> key_of;
  for (const auto& [key, source] : checkpoint.weights) {
    const std::string name = gguf_name(key);
    if (name.empty()) continue;
    parts[name].push_back(source);
    key_of.emplace(name, key);
  }
  std::vector<GgufWeight> weights;
  for (const auto& [name, sources] : parts) {
    const WeightKey& key = key_of.at(name);
    weights.push_back({name, joined(name, sources, key.expert >= 0), kGgmlF32, nullptr, key});
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
        {t.name, t.floats, static_cast<GgmlType>(t.type_id), t.bytes, gguf_slot_key(t.name)});
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i].floats.name = model.tensors[i].name;
    weights[i].floats.shape = model.tensors[i].shape;
  }
  sort_weights(weights);
  return weights;
}

}  // namespace phiquant
