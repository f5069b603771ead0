// What an architecture file states: its tensors by name pattern, and how its config describes the
// decoder.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/checkpoint.h"
#include "model/checkpoint/hf_config.h"

namespace phiquant {

// Sizes that shapes are made of.
enum class Dim : uint8_t {
  none,
  hidden,
  vocab,
  experts,
  ffn,
  gate_up,  // 2 * ffn
  q,
  kv,
  qkv,   // n_heads * head_size; n_kv_heads * head_size; q + 2 * kv
  rank,  // of the LoRA adapter that the name says
};

struct Dims {
  Dim d[3] = {Dim::none, Dim::none, Dim::none};
};
constexpr Dims vec(Dim n) { return {{n, Dim::none, Dim::none}}; }
constexpr Dims mat(Dim out, Dim in) { return {{out, in, Dim::none}}; }
constexpr Dims stack(Dim count, Dim out, Dim in) { return {{count, out, in}}; }

// When a tensor has to be there. Where it need not, it must not (an extra tensor is an error).
enum class When : uint8_t { always, attention_bias, mlp_bias, lm_head_bias, untied };

// How a tensor becomes weights.
enum class Part : uint8_t {
  whole,  // one tensor, one weight
  lora_a,
  lora_b,          // of an adapter on the weight of that role
  packed_gate_up,  // [experts, 2 * ffn, hidden]: for each expert the gate's rows, then up's
  packed,          // [experts, rows, columns]
  grouped_qkv,     // for each key head the rows of its query heads, then k's, then v's
};

// `pattern`: the tensor's full name. {layer} and {expert} stand for a number below the config's,
// {adapter} for a LoRA adapter's name, a `*` at the end for anything. A name that ends in ".bias"
// is a bias. Dims none: any shape.
struct TensorRule {
  std::string_view pattern;
  Role role = Role::ignored;
  Dims dims = {};
  When when = When::always;
  Part part = Part::whole;
};

struct Architecture {
  std::string_view class_name;  // config.json: architectures[0]
  std::string_view model_type;  // config.json: model_type; decides where `architectures` is missing
  Result<Decoder> (*decoder)(const ConfigView&) = nullptr;  // null: known, and not supported
  std::span<const TensorRule> tensors;                      // with the weights that must be there
  std::span<const TensorRule>
      alternatives;         // other names and storage of the same weights; tensors to leave out
  bool multimodal = false;  // has more than a text part
  std::string_view reason = {};  // why it is not supported, and what to do
};

// The table; archs.cc.
std::span<const Architecture> architectures();
// The row for a class name or, where that is empty, a model type. Error unsupported: unknown (lists
// the known ones), or known and not supported (says why).
Result<const Architecture*> find_architecture(const ConfigView& config, std::string_view class_name,
                                              std::string_view model_type);

// Value of a Dim; rank is not one of the decoder's.
uint64_t dim_size(Dim dim, const Decoder& decoder);
bool is_required(When when, const Decoder& decoder);

struct NameMatch {
  int32_t layer = -1, expert = -1;
  std::string adapter;
};
// Whether `name` fits `pattern`. Numbers are decimal without leading zeros, below 2^31.
std::optional<NameMatch> match_name(std::string_view pattern, std::string_view name);
// The name that `pattern` stands for.
std::string make_name(std::string_view pattern, int32_t layer, int32_t expert);

}  // namespace phiquant
