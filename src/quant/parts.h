// What an encoding offers to a method apart from whole blocks: scales from values, one code from
// one value, one value from one code, and the bytes of a block. A method that works through these
// (one that feeds errors back, say) needs to know no bytes. Scalar code: the kernels of the peers'
// own methods are elsewhere (scheme.h, row_scheme.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/tensor.h"

namespace phiquant {

// What an encoding leaves open.
struct EncodingParams {
  unsigned bits = 0;               // of a code; GGUF types: 0, their name says it
  uint32_t block_size = 0;         // values that share a scale; 0: a channel or a tensor
  bool symmetric = true;           // without zero points
  bool per_channel = true;         // qdq_int8, dynamic: a scale per output channel, else one in all
  bool float_zero_points = false;  // MatMulNBits, asymmetric: zero points in the scales' dtype
  bool operator==(const EncodingParams&) const = default;
};

// An encoding with nothing left open.
struct BlockSpec {
  EncodingParams params = {};
  DType scale_dtype = DType::f32;  // ONNX, MLX: of the stored scales; the weight is of that dtype
  size_t channel = 0;              // where block_size is 0: how many values share the scale
};

// GGUF: plane 0 is the blocks. Elsewhere: plane 0 the codes, 1 the scales, 2 the zero points (MLX:
// biases).
inline constexpr size_t kMaxPlanes = 3;
using Planes = std::array<std::byte*, kMaxPlanes>;
using PlanesView = std::array<const std::byte*, kMaxPlanes>;

// What a block puts into a plane. flat_bits 0: bytes that follow those of the block before. Else
// items of so many bits that lie flat over a tensor, whatever the block, so that a block need not
// start on a byte: pack() then gives each a byte, two's complement where it is signed, for
// pack_flat() (kernels.h).
struct PlaneShape {
  size_t bytes = 0;  // of a whole block; 0: no such plane
  unsigned flat_bits = 0;
};

struct BlockShape {
  size_t values = 0;     // of a whole block: what is fitted together
  size_t sub_block = 0;  // values that share an entry of Grid's arrays; divides `values`
  int lowest_code = 0;   // as pack() takes them: lowest_code .. lowest_code + n_codes - 1, cut to a
  int n_codes = 0;       // byte
  std::array<PlaneShape, kMaxPlanes> planes = {};
};

// The scales of a block. `by` and `from` are for round() and are not stored: peers round some codes
// under scales that were not yet cut to their stored type. What they mean is the encoding's affair.
struct Grid {
  static constexpr size_t kSubs = 16;
  template <class T>
  using Subs = std::array<T, kSubs>;  // by sub-block

  float d = 0, dmin = 0;                     // scales in two levels: the upper one, as stored
  Subs<int16_t> steps = {}, min_steps = {};  // the lower one; also scales that are codes
  Subs<float> scale = {}, offset = {};  // what decode() multiplies by and shifts by, from these
  Subs<float> by = {}, from = {};
};

// How the bytes of the encoding's peer method come about.
enum class PeerRule : uint8_t {
  parts,         // fit(), then round() of every value, then pack()
  parts_mostly,  // the same but where a sub-block's scale is 0: the codes, which then mean nothing,
                 // are those of the search for it
};

// Which EncodingParams there are to choose from. GGUF types leave nothing open.
struct ParamChoices {
  unsigned bits = 0;         // sum of 1 << bits; 0: the name says it
  uint32_t block_sizes = 0;  // sum of the sizes, powers of two; 0: no choice
  bool symmetric = false, asymmetric = false;
  bool float_zero_points = false;
};

// Nothing allocates or fails; values are finite.
struct EncodingParts {
  BlockShape (*shape)(const BlockSpec&);
  // Scales for x: a block, or the short last one of a row or column. `weights`: empty, or one for
  // each value, >= 0: how much its error matters; not every encoding looks at them.
  void (*fit)(std::span<const float> x, std::span<const float> weights, const BlockSpec&, Grid&);
  // The code for value i of the block; of values beyond the grid the outermost.
  uint8_t (*round)(float x, size_t i, const Grid&, const BlockSpec&);
  // Bit for bit what the decoder of whole blocks makes of it.
  float (*decode)(uint8_t code, size_t i, const Grid&, const BlockSpec&);
  // All bytes of the block; codes beyond the end of a short one are up to the encoding.
  void (*pack)(std::span<const uint8_t> codes, const Grid&, const BlockSpec&, const Planes&);
  // As many codes as there is room for; and a grid that rounds under the scales as stored.
  void (*unpack)(const PlanesView&, const BlockSpec&, Grid&, std::span<uint8_t> codes);
  PeerRule peer;
  ParamChoices choices = {};
};

}  // namespace phiquant
