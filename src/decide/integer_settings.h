// The request of an integer precision for an ONNX graph, checked and with everything settled that
// the user left open.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "phiquant/error.h"
#include "phiquant/options.h"
#include "quant/encoding.h"

namespace phiquant {

// A scheme of ONNX graphs that is no row of block_schemes(): a rule for whole tensors.
struct GraphScheme {
  std::string_view name;
  Precision precision;
  std::string_view summary;  // one line for `phiquant list`
  // Of int8: qdq_int8 or dynamic, and whether each output channel has a scale.
  Layout layout = Layout::qdq_int8;
  bool per_channel = false;
};
std::span<const GraphScheme> graph_schemes();
const GraphScheme* find_graph_scheme(std::string_view name);  // nullptr: none of that name

// The scheme of matrices: the recipe's, else the style's default.
std::string scheme_of(const Recipe& recipe, const OnnxSettings& onnx);

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

// `accuracy_level`: of MatMulNBits where the request has none. Errors: usage, for values out of
// range; what does not go together is refused before (format/legality.h).
Result<IntegerSettings> integer_settings(const Recipe& recipe, const OnnxSettings& onnx,
                                         int accuracy_level = 4);

}  // namespace phiquant
