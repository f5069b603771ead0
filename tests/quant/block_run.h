// Runs a block encoder over a whole weight and lays the bytes out as the operators' tensors hold
// them.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "core/half.h"
#include "quant/scheme.h"

namespace phiquant::test {

// A K x N weight, row-major, already rounded to its dtype.
struct Weight {
  size_t k = 0, n = 0;
  std::vector<float> x;
};

struct Encoded {
  std::string codes, scales,
      zero_points;  // raw tensor bytes; zero_points empty when the caller wants none
  std::vector<float> scale_values, zero_values;  // [k_blocks, N]
  std::vector<int> code_values;  // [k_blocks * block, N]; nbits only includes the tail
};

inline void append_float(std::string& out, float v, DType type) {
  char bytes[4];
  size_t size = 4;
  if (type == DType::f32) {
    std::memcpy(bytes, &v, 4);
  } else {
    const uint16_t h = type == DType::f16 ? f16_from_f32(v) : bf16_from_f32(v);
    std::memcpy(bytes, &h, 2);
    size = 2;
  }
  out.append(bytes, size);
}

// Appends codes of `bits` bits, low bits first; the last byte is filled with `fill`.
inline std::string pack_bits(const std::vector<int>& values, unsigned bits, unsigned fill) {
  std::string out;
  const size_t per_byte = 8 / bits;
  for (size_t i = 0; i < values.size(); i += per_byte) {
    unsigned byte = 0;
    for (size_t j = 0; j < per_byte; ++j) {
      const unsigned v = i + j < values.size() ? static_cast<unsigned>(values[i + j]) : fill;
      byte |= (v & ((1u << bits) - 1)) << (bits * j);
    }
    out.push_back(static_cast<char>(byte));
  }
  return out;
}

inline Encoded encode_weight(const Scheme& scheme, BlockEncode encode, const SchemeParams& p,
                             const Weight& w, bool with_zero_points) {
  const size_t block = p.block_size, blocks = (w.k + block - 1) / block, blob = block * p.bits / 8;
  Encoded out;
  out.code_values.resize(blocks * block * w.n);
  out.scale_values.resize(blocks * w.n);
  out.zero_values.resize(blocks * w.n);
  std::vector<std::byte> packed(w.n * blocks * blob, std::byte{0xee}),
      flat(block * w.n, std::byte{0xee});
  for (size_t b = 0; b < blocks; ++b) {
    const BlockTile tile{w.x.data() + b * block * w.n, w.n, std::min(block, w.k - b * block), w.n};
    BlockCodes codes;
    const bool nbits = scheme.packing == Packing::nbits;
    codes.codes = nbits ? packed.data() + b * blob : flat.data();
    codes.codes_stride = nbits ? blocks * blob : w.n;
    codes.scales = out.scale_values.data() + b * w.n;
    codes.zero_points = with_zero_points ? out.zero_values.data() + b * w.n : nullptr;
    encode(tile, p, codes);
    for (size_t k = 0; k < (nbits ? block : tile.n_rows); ++k)
      for (size_t c = 0; c < w.n; ++c) {
        int v;
        if (nbits) {
          const auto byte =
              static_cast<unsigned>(packed[c * blocks * blob + b * blob + k * p.bits / 8]);
          v = static_cast<int>(byte >> (k * p.bits % 8) & ((1u << p.bits) - 1));
        } else {
          v = static_cast<int>(flat[k * w.n + c]);
        }
        out.code_values[(b * block + k) * w.n + c] = v;
      }
  }
  // Column by column for everything but Packing::k_major.
  std::vector<int> order, zeros;
  const bool k_major = scheme.packing == Packing::k_major;
  for (size_t i = 0; i < w.k * w.n; ++i)
    order.push_back(out.code_values[k_major ? i : i % w.k * w.n + i / w.k]);
  if (scheme.packing == Packing::nbits)
    out.codes.assign(reinterpret_cast<const char*>(packed.data()), packed.size());
  else
    out.codes = pack_bits(order, p.bits, 0);
  for (size_t i = 0; i < blocks * w.n; ++i) {
    const size_t at = k_major ? i : i % blocks * w.n + i / blocks;
    append_float(out.scales, out.scale_values[at], p.weight_dtype);
    if (scheme.float_zero_points)
      append_float(out.zero_points, out.zero_values[at], p.weight_dtype);
    zeros.push_back(static_cast<int>(out.zero_values[at]));
    if (scheme.packing == Packing::nbits && (i + 1) % blocks == 0) {
      if (!scheme.float_zero_points)
        out.zero_points += pack_bits(zeros, p.bits, 1u << (p.bits - 1));
      zeros.clear();
    }
  }
  if (scheme.packing != Packing::nbits) out.zero_points = pack_bits(zeros, p.bits, 0);
  if (!with_zero_points) out.zero_points.clear();
  return out;
}

}  // namespace phiquant::test
