// Schemes whose unit is a row of an [N, K] weight (GGUF types, MLX groups): every row is encoded on
// its own, in blocks along K, and stored row after row. Unlike the block schemes of scheme.h, which
// see columns of a tile, these need neighbouring blocks of a row (super-blocks, row means).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "quant/parts.h"

namespace phiquant {

enum class RowFamily : uint8_t { gguf, mlx };

constexpr size_t kMaxRowPlanes = kMaxPlanes;

// What a scheme leaves open. GGUF types leave nothing open.
struct RowParams {
  unsigned bits = 0;               // mlx affine: 2, 3, 4, 5, 6 or 8
  uint32_t group_size = 0;         // mlx: values that share a scale
  DType scale_dtype = DType::f32;  // mlx affine: of scales and biases: f32, f16 or bf16
};

inline BlockSpec spec_of(const RowParams& p) {
  return {{p.bits, p.group_size, false, true}, p.scale_dtype};
}

// A block of a row: how many values it takes, and its bytes in each plane (0: no such plane).
// GGUF: plane 0 is the blocks. MLX: plane 0 the codes, 1 the scales, 2 the biases.
struct RowLayout {
  uint32_t block_size = 0;
  std::array<uint32_t, kMaxRowPlanes> block_bytes = {};
};

RowLayout layout_of(const EncodingParts& parts, const RowParams& params);

// Whole rows: value (r, i) is x[r * k + i]; k is a multiple of the block size. All finite.
struct RowTile {
  const float* x = nullptr;
  size_t n_rows = 0, k = 0;
  const float* importance = nullptr;  // [k], >= 0, from an imatrix; null: none
};

// Row r of plane p starts at plane[p] + r * (k / block_size) * block_bytes[p]. Any alignment.
using RowPlanes = Planes;
using RowPlanesView = PlanesView;

// Every byte of every plane is written. No allocation beyond the stack, no failure.
using RowEncode = void (*)(const RowTile&, const RowParams&, const RowPlanes&);
// x[r * k + i] for n_rows rows, in float.
using RowDecode = void (*)(const RowPlanesView&, size_t n_rows, size_t k, const RowParams&,
                           float* x);

struct RowScheme {
  std::string_view name;     // "q4_k", "affine": unique in its family
  std::string_view summary;  // one line for `phiquant list`
  RowFamily family;
  uint32_t type_id;  // gguf: ggml_type; mlx: 0
  bool uses_importance;
  const EncodingParts* parts;
  RowEncode encode_ref;  // the specification
  RowEncode encode;      // the same bytes, fast
  RowDecode decode;

  RowLayout layout(const RowParams& params) const { return layout_of(*parts, params); }
};

// Rows through the parts of an encoding, block by block; blocks of at most 256 values.
void encode_rows_by_parts(const EncodingParts& parts, const RowTile& tile, const RowParams& params,
                          const RowPlanes& out);
void decode_rows_by_parts(const EncodingParts& parts, const RowPlanesView& in, size_t n_values,
                          const RowParams& params, float* x);

// Those of the table of encodings (src/quant/encodings.cc), in the order of `phiquant list`.
std::span<const RowScheme> row_schemes();
// nullptr where the family has no scheme of that name, or of that ggml_type.
const RowScheme* find_row_scheme(RowFamily family, std::string_view name);
const RowScheme* find_gguf_type(uint32_t type_id);

// Bytes that n_values (whole blocks) take in a plane.
uint64_t row_plane_bytes(const RowScheme& scheme, const RowParams& params, size_t plane,
                         uint64_t n_values);

// A tensor that is stored in `scheme`, as float32, decoded as it is read; its `stored` says so.
// `planes`: one source for each plane of the layout, in order, of exactly row_plane_bytes; the last
// dimension of `shape` is a multiple of the block size (the reader checked both).
SourceTensor decoded_rows(std::string name, Shape shape, const RowScheme& scheme,
                          const RowParams& params,
                          std::vector<std::shared_ptr<const ByteSource>> planes);

}  // namespace phiquant
