#include "model/checkpoint/weights.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "core/sources.h"
#include "core/text.h"
#include "model/checkpoint/found_tensors.h"
#include "model/checkpoint/lora_source.h"

namespace phiquant {
namespace {

constexpr size_t kShownNames = 3;

// "'a', 'b', 'c' and 5 more": the first names of any number.
class Names {
 public:
  void add(const std::string& name) {
    if (n_++ < kShownNames)
      text_ += fmt::format("{}'{}'", text_.empty() ? "" : ", ", printable(name));
  }
  size_t size() const { return n_; }
  std::string text() const {
    return n_ > kShownNames ? fmt::format("{} and {} more", text_, n_ - kShownNames) : text_;
  }

 private:
  size_t n_ = 0;
  std::string text_;
};

struct Adapter {
  const FoundTensor *a = nullptr, *b = nullptr;
};

class Assigner {
 public:
  Assigner(const Architecture& arch, const ConfigView& config, MergeLora merge, Checkpoint& out)
      : arch_(arch),
        config_(config),
        out_(out),
        adapter_(merge == MergeLora::vision   ? "vision"
                 : merge == MergeLora::speech ? "speech"
                                              : "") {}

  Result<void> run(const std::vector<FoundTensor>& found, bool tie_is_stated);

 private:
  struct Match {
    const TensorRule* rule;
    NameMatch name;
  };

  std::optional<Match> match(const std::string& name) const;
  Result<void> take(const FoundTensor& tensor, const Match& match);
  Result<void> check(const FoundTensor& tensor, const Match& match) const;
  Result<void> put(const WeightKey& key, SourceTensor tensor);
  Result<void> put_packed(const FoundTensor& tensor, const Match& match);
  Result<void> put_grouped_qkv(const SourceTensor& tensor, const Match& match);
  Result<void> check_missing() const;
  Result<void> read_adapter();
  Result<void> merge_adapter();
  void count_dtypes();

  const Architecture& arch_;
  const ConfigView& config_;
  Checkpoint& out_;
  std::string adapter_;  // "" : none to merge
  uint64_t rank_ = 0;
  double alpha_ = 0;
  std::map<WeightKey, Adapter> adapters_;
};

std::optional<Assigner::Match> Assigner::match(const std::string& name) const {
  for (const auto& rules : {arch_.tensors, arch_.alternatives})
    for (const TensorRule& rule : rules)
      if (auto found = match_name(rule.pattern, name)) return Match{&rule, std::move(*found)};
  return std::nullopt;
}

Result<void> Assigner::check(const FoundTensor& tensor, const Match& match) const {
  const Decoder& d = out_.decoder;
  const auto index_ok = [](int32_t index, uint64_t n) {
    return index < 0 || static_cast<uint64_t>(index) < n;
  };
  if (!index_ok(match.name.layer, d.n_layers))
    return error_of(Errc::corrupt, tensor,
                    fmt::format("layer {}, config.json has num_hidden_layers {}", match.name.layer,
                                d.n_layers));
  if (!index_ok(match.name.expert, dim_size(Dim::experts, d)))
    return error_of(Errc::corrupt, tensor,
                    fmt::format("expert {}, config.json has num_local_experts {}",
                                match.name.expert, dim_size(Dim::experts, d)));
  Shape wanted;
  for (const Dim dim : match.rule->dims.d)
    if (dim != Dim::none) wanted.push_back(dim == Dim::rank ? rank_ : dim_size(dim, d));
  if (tensor.entry.shape != wanted)
    return error_of(Errc::corrupt, tensor,
                    fmt::format("shape {}, config.json wants {}", shape_string(tensor.entry.shape),
                                shape_string(wanted)));
  if (is_weight_float(tensor.entry.dtype)) return {};
  return error_of(
      Errc::unsupported, tensor,
      fmt::format("{} weights are not read, wanted float32, float16, bfloat16 or float8",
                  dtype_name(tensor.entry.dtype)));
}

Result<void> Assigner::put(const WeightKey& key, SourceTensor tensor) {
  std::string name = tensor.name;
  const auto [at, is_new] = out_.weights.emplace(key, std::move(tensor));
  if (is_new) return {};
  return Error{Errc::corrupt,
               fmt::format("{}: tensors '{}' and '{}' are the same weight", out_.folder.string(),
                           printable(at->second.name), printable(name))};
}

// Slices of one tensor that holds all experts of a layer.
Result<void> Assigner::put_packed(const FoundTensor& tensor, const Match& match) {
  const SafetensorsEntry& e = tensor.entry;
  const bool gate_up = match.rule->part == Part::packed_gate_up;
  const auto bytes = bytes_of(tensor);
  const uint64_t n_slices = e.shape[0] * (gate_up ? 2 : 1),
                 slice_bytes = bytes->size_bytes() / n_slices;
  const Shape shape = {e.shape[1] / (gate_up ? 2 : 1), e.shape[2]};
  for (uint64_t i = 0; i < n_slices; ++i) {
    const auto expert = static_cast<int32_t>(gate_up ? i / 2 : i);
    const Role role = gate_up && i % 2 == 1 ? Role::expert_up : match.rule->role;
    PHIQUANT_TRY(put({role, match.name.layer, expert, false},
                     {fmt::format("{}[{}]{}", e.name, expert,
                                  !gate_up     ? ""
                                  : i % 2 == 0 ? ".gate"
                                               : ".up"),
                      e.dtype, shape, slice_source(bytes, i * slice_bytes, slice_bytes)}));
  }
  return {};
}

// q, k and v of a tensor that has the rows of each key head together.
Result<void> Assigner::put_grouped_qkv(const SourceTensor& tensor, const Match& match) {
  const Decoder& d = out_.decoder;
  const uint64_t queries = uint64_t{d.n_heads / d.n_kv_heads} * d.head_size,
                 group = queries + 2 * uint64_t{d.head_size};
  const auto gather = [&](const char* part, uint64_t first, uint64_t count) {
    std::vector<SourceTensor> rows;
    for (uint64_t head = 0; head < d.n_kv_heads; ++head)
      rows.push_back(slice_rows(tensor, head * group + first, count));
    return concat_rows(fmt::format("{}[{}]", tensor.name, part), rows);
  };
  const auto put_part = [&](Role role, SourceTensor part) {
    return put({role, match.name.layer, -1, match.rule->pattern.ends_with(".bias")},
               std::move(part));
  };
  PHIQUANT_TRY(put_part(Role::attn_q, gather("q", 0, queries)));
  PHIQUANT_TRY(put_part(Role::attn_k, gather("k", queries, d.head_size)));
  return put_part(Role::attn_v, gather("v", queries + d.head_size, d.head_size));
}

Result<void> Assigner::take(const FoundTensor& tensor, const Match& match) {
  const TensorRule& rule = *match.rule;
  const SafetensorsEntry& e = tensor.entry;
  const bool is_lora = rule.part == Part::lora_a || rule.part == Part::lora_b;
  if (rule.role == Role::ignored || (is_lora && match.name.adapter != adapter_)) {
    out_.left_out.push_back(e.name);
    return {};
  }
  PHIQUANT_TRY(check(tensor, match));
  if (rule.part == Part::packed || rule.part == Part::packed_gate_up)
    return put_packed(tensor, match);
  const WeightKey key{rule.role, match.name.layer, match.name.expert,
                      rule.pattern.ends_with(".bias")};
  if (is_lora) {
    (rule.part == Part::lora_a ? adapters_[key].a : adapters_[key].b) = &tensor;
    return {};
  }
  SourceTensor whole{e.name, e.dtype, e.shape, bytes_of(tensor)};
  if (rule.part == Part::grouped_qkv) return put_grouped_qkv(whole, match);
  return put(key, std::move(whole));
}

Result<void> Assigner::check_missing() const {
  Names missing;
  for (const TensorRule& rule : arch_.tensors) {
    if (rule.role == Role::ignored || !is_required(rule.when, out_.decoder)) continue;
    const bool per_layer = rule.pattern.find("{layer}") != std::string_view::npos,
               per_expert = rule.pattern.find("{expert}") != std::string_view::npos;
    const int32_t n_layers = per_layer ? static_cast<int32_t>(out_.decoder.n_layers) : 1;
    const int32_t n_experts =
        per_expert ? static_cast<int32_t>(dim_size(Dim::experts, out_.decoder)) : 1;
    for (int32_t layer = 0; layer < n_layers; ++layer)
      for (int32_t expert = 0; expert < n_experts; ++expert)
        if (!out_.find(rule.role, per_layer ? layer : -1, rule.pattern.ends_with(".bias"),
                       per_expert ? expert : -1))
          missing.add(make_name(rule.pattern, layer, expert));
  }
  if (missing.size() == 0) return {};
  return Error{
      Errc::corrupt,
      fmt::format(
          "{}: {} tensor{} missing: {} (incomplete download, or a config.json of another model?)",
          out_.folder.string(), missing.size(), missing.size() > 1 ? "s are" : " is",
          missing.text())};
}

Result<void> Assigner::read_adapter() {
  if (adapter_.empty()) return {};
  const std::string key = adapter_ + "_lora";
  PHIQUANT_ASSIGN(const auto section, config_.section(key));
  if (!section)
    return config_.error(
        Errc::unsupported,
        fmt::format("there is no '{}' to merge (architecture {})", key, arch_.class_name));
  PHIQUANT_ASSIGN(rank_, section->count("r", 65536));
  PHIQUANT_ASSIGN(alpha_, section->positive("lora_alpha"));
  return {};
}

Result<void> Assigner::merge_adapter() {
  if (adapter_.empty()) return {};
  if (adapters_.empty())
    return Error{Errc::corrupt,
                 fmt::format("{}: no tensor of the adapter '{}' (*.lora_A.{}.weight)",
                             out_.folder.string(), adapter_, adapter_)};
  for (const auto& [key, adapter] : adapters_) {
    const auto base = out_.weights.find(key);
    const FoundTensor& one = adapter.a ? *adapter.a : *adapter.b;
    if (!adapter.a || !adapter.b || base == out_.weights.end())
      return error_of(Errc::corrupt, one,
                      fmt::format("its partner {} is missing", !adapter.a   ? "lora_A"
                                                               : !adapter.b ? "lora_B"
                                                                            : "base_layer"));
    const auto source = [](const FoundTensor& t) {
      return SourceTensor{t.entry.name, t.entry.dtype, t.entry.shape, bytes_of(t)};
    };
    base->second = merge_lora(base->second, source(*adapter.a), source(*adapter.b),
                              static_cast<float>(alpha_ / static_cast<double>(rank_)));
  }
  return {};
}

// The type of most bytes; of equals the one that comes first in the enumeration.
void Assigner::count_dtypes() {
  std::map<DType, uint64_t> bytes;
  for (const auto& [key, tensor] : out_.weights) bytes[tensor.dtype] += tensor.bytes->size_bytes();
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most != bytes.end()) out_.dtype = most->first;
}

Result<void> Assigner::run(const std::vector<FoundTensor>& found, bool tie_is_stated) {
  PHIQUANT_TRY(read_adapter());
  Names extra;
  for (const FoundTensor& tensor : found) {
    const auto matched = match(tensor.entry.name);
    if (!matched ||
        (matched->rule->when != When::untied && !is_required(matched->rule->when, out_.decoder)))
      extra.add(tensor.entry.name);
    else
      PHIQUANT_TRY(take(tensor, *matched));
  }
  if (extra.size() > 0)
    return Error{Errc::corrupt,
                 fmt::format("{}: {} tensor{} not of {} as config.json describes it: {}",
                             out_.folder.string(), extra.size(), extra.size() > 1 ? "s are" : " is",
                             arch_.class_name, extra.text())};
  if (!tie_is_stated && !out_.find(Role::lm_head)) out_.decoder.tied_embeddings = true;
  PHIQUANT_TRY(check_missing());
  count_dtypes();
  return merge_adapter();
}

Result<bool> same_bytes(const ByteSource& a, const ByteSource& b) {
  if (a.size_bytes() != b.size_bytes()) return false;
  constexpr uint64_t kFirst = 4096, kChunk = uint64_t{1} << 20;
  std::vector<std::byte> x(kChunk), y(kChunk);
  for (uint64_t at = 0; at < a.size_bytes();) {
    const size_t n = std::min(at == 0 ? kFirst : kChunk, a.size_bytes() - at);
    PHIQUANT_TRY(a.read(at, std::span(x).first(n)));
    PHIQUANT_TRY(b.read(at, std::span(y).first(n)));
    if (std::memcmp(x.data(), y.data(), n) != 0) return false;
    at += n;
  }
  return true;
}

}  // namespace

Result<void> assign_weights(const Architecture& arch, const ConfigView& config,
                            const std::vector<FoundTensor>& found, MergeLora merge,
                            bool tie_is_stated, Checkpoint& out) {
  return Assigner(arch, config, merge, out).run(found, tie_is_stated);
}

Result<void> settle_tied_embeddings(Checkpoint& checkpoint) {
  const SourceTensor *embed = checkpoint.find(Role::embed), *head = checkpoint.find(Role::lm_head);
  if (!embed || !head) return {};
  bool same = embed->dtype == head->dtype && embed->shape == head->shape;
  if (same) {
    PHIQUANT_ASSIGN(same, same_bytes(*embed->bytes, *head->bytes));
  }
  if (!same && checkpoint.decoder.tied_embeddings)
    checkpoint.warnings.push_back(
        "config.json ties lm_head to the embeddings, but both are stored and differ: both are "
        "used");
  checkpoint.decoder.tied_embeddings = same;
  if (same) checkpoint.weights.erase({Role::lm_head});
  return {};
}

}  // namespace phiquant
