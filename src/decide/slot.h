// A weight that an output will store, before it is decided what it becomes. A format lists the
// slots of a model; decide() chooses for each; the format then writes them. A weight's identity is
// found once, by its reader, and travels here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "model/checkpoint.h"
#include "wire/gguf_types.h"

namespace phiquant {

enum class SlotKind : uint8_t {
  linear,   // a matrix that activations are multiplied with
  table,    // rows are looked up: an embedding
  conv,     // a filter
  experts,  // equal matrices of a layer, one behind the other
  vector,   // norms, biases, rotary factors: always floats
  other,    // a float constant of a graph that no operator quantizes
};

// Codes that the source holds already.
struct StoredAs {
  std::string_view name;                   // as the report calls them: "q4_0"
  std::optional<GgmlType> ggml_type = {};  // of GGUF files
};

struct Slot {
  // Which weight of a decoder it is; nullopt where a foreign model does not tell.
  std::optional<WeightKey> key;
  SlotKind kind = SlotKind::other;
  std::string tensor;                // what the report and --strict call it
  std::string node;                  // the node that reads it in a graph; "" if none
  std::vector<std::string> names;    // all that globs may match, beside `tensor`
  Shape shape;                       // as the report shows it, outermost dimension first
  uint64_t k = 0, n = 0, stack = 1;  // values of a row (reduced over), rows, equal matrices
  DType dtype = DType::undefined;    // of the floats
  uint64_t bytes = 0;                // in the source
  // What its reader sees, where casts lie between (else undefined, as `dtype`): scales have this
  // type.
  DType seen = DType::undefined;
  bool is_turned = false;  // stored the other way round than it is read
  std::optional<StoredAs> stored;
  std::string must_stay;  // why it can only be float; "" otherwise
  bool is_tied = false;   // an embedding that is the lm_head too, which has a slot of its own

  DType seen_dtype() const { return seen == DType::undefined ? dtype : seen; }
  bool is(Role role) const { return key && !key->bias && key->role == role; }
};

// The one word of the report: "linear", "lm_head", "embedding", "experts", "router", "conv",
// "norm", "other".
std::string_view report_role(const Slot& slot);

// Whether one of the globs matches one of the slot's names.
bool matches_any(const std::vector<std::string>& globs, const Slot& slot);

}  // namespace phiquant
