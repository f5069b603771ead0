// What a quantized weight is made of, on two axes. An *encoding* is a grid and the arrangement of
// its bytes: what a runtime reads. A *method* is how scales and codes are found. Pairs of both that
// a peer's tool makes have a kernel for whole blocks or rows (scheme.h, row_scheme.h), whose bytes
// are the peer's.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/tensor.h"
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

// What an encoding leaves open.
struct EncodingParams {
  unsigned bits = 0;        // of a code; GGUF types: 0, their name says it
  uint32_t block_size = 0;  // values that share a scale; 0: a channel or a tensor
  bool symmetric = true;    // without zero points
  bool per_channel = true;  // qdq_int8, dynamic: a scale per output channel, else one in all
  bool operator==(const EncodingParams&) const = default;
};

struct Encoding {
  std::string_view name;  // as its runtime names it: "MatMulNBits", "q4_k", "affine"
  Layout layout;
  const RowScheme* rows = nullptr;  // gguf and mlx: its rows
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

// The kernel of an encoding in blocks (nbits, gather, qdq_blocks) with a method; nullptr where the
// pair has none. `of_table`: the weight is looked up by row, [N, K], and not multiplied with, [K,
// N].
const Scheme* block_kernel(const Encoding& encoding, const Method& method, bool of_table = false);

}  // namespace phiquant
