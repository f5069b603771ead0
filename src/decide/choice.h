// What a slot becomes.
#pragma once

#include <string>
#include <utility>

#include "core/tensor.h"
#include "quant/encoding.h"

namespace phiquant {

struct Choice {
  const Encoding* encoding = nullptr;  // null: a float
  EncodingParams params = {};
  const Method* method = nullptr;  // with an encoding
  DType float_type =
      DType::undefined;     // without one: which float; undefined: the format's for this weight
  std::string reason = {};  // why not the recipe's default; "" if nothing to say
  bool is_override =
      false;  // said for this weight alone: formats whose files note exceptions note it
  bool shares_head = false;  // tied embeddings: the bytes are those of the lm_head's slot

  bool is_float() const { return !encoding; }
};

inline Choice stay_float(std::string reason, bool is_override = false) {
  Choice c;
  c.reason = std::move(reason);
  c.is_override = is_override;
  return c;
}

// As the report names it: the pair of encoding and method ("matmul_nbits", "search", "qdq_channel",
// "q4_k"), "keep".
std::string action_of(const Choice& choice);

}  // namespace phiquant
