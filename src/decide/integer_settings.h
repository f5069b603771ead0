// The request of an integer precision for an ONNX graph, checked and with everything settled that
// the user left open.
#pragma once

#include <string>
#include <vector>

#include "phiquant/error.h"
#include "phiquant/options.h"
#include "quant/encoding.h"

namespace phiquant {

// Schemes that are no block scheme: rules for --scheme beside block_schemes().
struct Int8Scheme {
  const char* name;
  const char* summary;
  Layout layout;  // qdq_int8 or dynamic
  bool per_channel;
};
std::span<const Int8Scheme> int8_schemes();

struct IntegerSettings {
  Style style = Style::contrib;
  Layout linear = Layout::nbits;   // of matrices
  const Scheme* kernel = nullptr;  // of block layouts; null: 8-bit codes without blocks
  std::string name;                // as reported: "matmul_nbits", "qdq_channel", "dynamic", ...
  unsigned bits = 4;
  uint32_t block_size = 32;
  bool symmetric = true;
  bool per_channel = true;
  int accuracy_level = 4;

  bool in_blocks() const { return kernel != nullptr; }
};

// `accuracy_level`: of MatMulNBits where the request has none. Errors: usage, for unknown names and
// pairs that do not go together, naming the legal values.
Result<IntegerSettings> integer_settings(const Recipe& recipe, const OnnxSettings& onnx,
                                         int accuracy_level = 4);

}  // namespace phiquant
