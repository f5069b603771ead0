// Row schemes with parameters that they take, and what they make of generated rows.
#pragma once

#include <array>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "quant/row_scheme.h"

namespace phiquant::test {

// Parameters with which `scheme` can be tried.
inline RowParams row_params_of(const RowScheme& scheme) {
  return scheme.family == RowFamily::mlx && scheme.name == "affine" ? RowParams{4, 64, DType::f16}
                                                                    : RowParams{};
}

// A name for messages and test cases.
inline std::string name_of(const RowScheme& scheme) {
  return (scheme.family == RowFamily::gguf ? "gguf_" : "mlx_") + std::string(scheme.name);
}

// Rows whose blocks differ in size, offset and shape: plain, constant, zero, one-signed, with an
// outlier, in few steps.
inline std::vector<float> varied_rows(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  const auto uniform = [&] { return static_cast<float>(random() % 65536) / 32768.0f - 1.0f; };
  std::vector<float> x(n);
  float size = 1, offset = 0;
  unsigned kind = 0;
  for (size_t i = 0; i < n; ++i) {
    if (i % 16 == 0) {
      kind = static_cast<unsigned>(random() % 12);
      size = std::ldexp(1.0f, static_cast<int>(random() % 12) - 9);
      offset = kind == 1 ? size * 2 : kind == 2 ? -size * 2 : 0.0f;
    }
    const float v = uniform();
    x[i] = kind == 3                  ? 0.0f
           : kind == 4                ? size
           : kind == 5                ? std::round(v * 4) * size
           : kind == 6 && i % 16 == 7 ? size * 30
                                      : v * size + offset;
  }
  return x;
}

using RowBytes = std::array<std::string, kMaxRowPlanes>;

// The planes that `encode` writes; a byte more than it may write stays as it was.
inline RowBytes encode_rows(const RowScheme& scheme, const RowParams& params, RowEncode encode,
                            const RowTile& tile) {
  RowBytes bytes;
  RowPlanes planes = {};
  for (size_t p = 0; p < kMaxRowPlanes; ++p) {
    const uint64_t size = row_plane_bytes(scheme, params, p, tile.n_rows * tile.k);
    bytes[p].assign(static_cast<size_t>(size) + 1, '\x5a');
    if (size != 0) planes[p] = reinterpret_cast<std::byte*>(bytes[p].data());
  }
  encode(tile, params, planes);
  return bytes;
}
inline RowBytes encode_rows(const RowScheme& scheme, RowEncode encode, const RowTile& tile) {
  return encode_rows(scheme, row_params_of(scheme), encode, tile);
}

}  // namespace phiquant::test
