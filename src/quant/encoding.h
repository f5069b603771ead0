// What a quantized weight is made of, on two axes. An *encoding* is a grid and the arrangement of
// its bytes: what a runtime reads. A *method* is how scales and codes are found. Pairs of both that
// a peer's tool makes have a kernel for whole blocks or rows (scheme.h, row_scheme.h), whose bytes
// are the peer's; any other method goes through the encoding's parts (parts.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "quant/parts.h"
#include "quant/row_scheme.h"
#include "quant/scheme.h"

namespace phiquant {

// Where the bytes of a weight go, and who reads them.
enum class Layout : uint8_t {
  nbits,       // com.microsoft::MatMulNBits
  gather,      // com.microsoft::GatherBlockQuantized: tables
  qdq_blocks,  // DequantizeLinear with blocks
  qdq_int8,    // DequantizeLinear with one scale a channel or a tensor, 8 bits
  dynamic,     // the same codes for MatMulInteger and ConvInteger behind DynamicQuantizeLinear
  gguf,        // rows of a GGUF type
  mlx,         // rows of an MLX mode: codes, scales, biases apart
};

struct Encoding {
  std::string_view name;  // as its runtime names it: "MatMulNBits", "q4_k", "affine"
  Layout layout;
  std::string_view summary;              // one line for `phiquant list`
  const EncodingParts* parts = nullptr;  // also what EncodingParams it takes; never null
  std::optional<Packing> packing = {};   // ONNX blocks: that of their kernels
  const RowScheme* rows = nullptr;       // gguf and mlx: its rows
};

// The table, in the order of `phiquant list`: ONNX, GGUF types, MLX modes.
std::span<const Encoding> encodings();
// The encoding of an ONNX layout; `layout` is neither gguf nor mlx.
const Encoding& onnx_encoding(Layout layout);
// nullptr where the layout (gguf or mlx) has none of that name.
const Encoding* find_encoding(Layout layout, std::string_view name);

struct Method {
  std::string_view name, summary;
};

std::span<const Method> methods();
const Method* find_method(std::string_view name);
// What the runtime's own tool does.
const Method& peer_method();

// The kernel of an encoding in blocks with a method; nullptr where the pair has none. `of_table`:
// the weight is looked up by row, [N, K], and not multiplied with, [K, N].
const Scheme* block_kernel(const Encoding& encoding, const Method& method, bool of_table = false);

// Which parameters a pair offers: of the encoding's those that the method has a kernel for. With
// float_zero_points they are the only ones. Nothing where the pair has no kernel.
std::optional<ParamChoices> offered(const Encoding& encoding, const Method& method);

}  // namespace phiquant
