// Every encoding with what it leaves open, values to try it on, and its whole-block kernels seen
// through the planes of its parts.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "quant/encoding.h"
#include "quant/kernels.h"
#include "quant/stored_float.h"

namespace phiquant::test {

struct PartsCase {
  const Encoding* encoding;
  BlockSpec spec;
  std::string name;
};

inline std::string name_of(const Encoding& e) {
  std::string name = e.layout == Layout::mlx ? "mlx_" : "";
  for (const char c : e.name) name += c == ' ' ? '_' : c;
  return name;
}

// `bits`: a sum of powers of two. Their exponents; 0 where there are none.
inline std::vector<unsigned> set_bits(unsigned mask) {
  std::vector<unsigned> bits;
  for (unsigned b = 0; b < 32; ++b)
    if (mask >> b & 1) bits.push_back(b);
  return bits.empty() ? std::vector<unsigned>{0} : bits;
}

inline PartsCase parts_case(const Encoding& e, const BlockSpec& s) {
  std::string name = name_of(e) + "_" + std::string(dtype_name(s.scale_dtype));
  name += "_b" + std::to_string(s.params.bits) + "_g" + std::to_string(s.params.block_size);
  name += "_n" + std::to_string(s.channel) + (s.params.symmetric ? "_sym" : "");
  return {&e, s, name + (s.params.float_zero_points ? "_float" : "")};
}

// Whatever an encoding lets one choose.
inline void add_cases(const Encoding& e, const BlockSpec& open, std::vector<PartsCase>& cases) {
  const ParamChoices& choices = e.parts->choices;
  BlockSpec s = open;
  for (const bool symmetric : {true, false}) {
    s.params.symmetric = symmetric;
    if (symmetric ? choices.symmetric : choices.asymmetric || !choices.symmetric)
      cases.push_back(parts_case(e, s));
  }
  const auto hqq = offered(e, *find_method("hqq"));
  s.params.float_zero_points = choices.float_zero_points;
  if (s.params.float_zero_points && hqq && hqq->bits >> s.params.bits & 1)
    cases.push_back(parts_case(e, s));
}

inline std::vector<PartsCase> parts_cases() {
  std::vector<PartsCase> cases;
  for (const Encoding& e : encodings())
    for (const unsigned bits : set_bits(e.parts->choices.bits))
      for (const unsigned log_size : set_bits(e.parts->choices.block_sizes))
        for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
          if (e.layout == Layout::gguf && type != DType::f32) continue;  // says it itself
          BlockSpec s;
          s.params.bits = bits;
          s.params.block_size = log_size ? 1u << log_size : 0;
          s.scale_dtype = type;
          if (log_size || e.rows) {
            add_cases(e, s, cases);
            continue;
          }
          for (const size_t channel : {3u, 37u, 300u}) {
            s.channel = channel;
            add_cases(e, s, cases);
          }
        }
  return cases;
}

// Values that break shortcuts, as a weight of the scales' type can hold them.
inline std::vector<std::vector<float>> parts_values(size_t n, DType type) {
  std::mt19937 rng(static_cast<unsigned>(n));
  std::normal_distribution<float> normal(0.0f, 0.05f);
  constexpr int kKinds = 16;
  std::vector<std::vector<float>> all;
  for (int kind = 0; kind < kKinds; ++kind) {
    std::vector<float> x(n);
    for (size_t i = 0; i < n; ++i) {
      const float v = normal(rng);
      switch (kind) {
        case 0:
          x[i] = 0.0f;
          break;
        case 1:
          x[i] = i % 3 ? -0.0f : 0.0f;
          break;
        case 2:
          x[i] = v * 1e-38f;
          break;  // subnormal floats
        case 3:
          x[i] = v * 2e-5f;
          break;  // subnormal halves
        case 4:
          x[i] = 0.03125f * static_cast<float>(static_cast<int>(rng() % 33) - 16);
          break;
        case 5:
          x[i] = i == n / 2 ? 40.0f : v;
          break;  // an outlier
        case 6:
          x[i] = std::clamp(v * 4e5f, -65000.0f, 65000.0f);
          break;
        case 7:
          x[i] = v * 1e-36f;
          break;  // 1 / scale near overflow
        case 8:
          x[i] = 0.3f;
          break;
        case 9:
          x[i] = -0.25f;
          break;
        case 10:
          x[i] = i % 2 ? 0.7f : -0.7f;
          break;  // equal extremes
        case 11:
          x[i] = std::fabs(v) + 0.01f;
          break;
        case 12:
          x[i] = -std::fabs(v) - 0.5f;
          break;
        case 13:
          x[i] = i / 32 % 2 ? 0.0f : v;
          break;  // sub-blocks of zeros
        case 14:
          x[i] = std::ldexp(v, static_cast<int>(i / 16) - 6);
          break;
        default:
          x[i] = v;
          break;
      }
      if (type != DType::f32) x[i] = quant::through_dtype(x[i], type);
    }
    all.push_back(std::move(x));
  }
  return all;
}

using PlaneBytes = std::array<std::vector<std::byte>, kMaxPlanes>;

// Planes of n_blocks blocks; every byte is to be written.
inline PlaneBytes make_planes(const BlockShape& shape, size_t n_blocks) {
  PlaneBytes bytes;
  for (size_t p = 0; p < kMaxPlanes; ++p)
    bytes[p].assign(shape.planes[p].bytes * n_blocks, std::byte{0x5a});
  return bytes;
}
template <class Pointers, class Bytes>
Pointers at_block(Bytes& bytes, const BlockShape& shape, size_t block) {
  Pointers planes = {};
  for (size_t p = 0; p < kMaxPlanes; ++p)
    if (!bytes[p].empty()) planes[p] = bytes[p].data() + block * shape.planes[p].bytes;
  return planes;
}
inline Planes planes_of(PlaneBytes& b, const BlockShape& shape, size_t block = 0) {
  return at_block<Planes>(b, shape, block);
}
inline PlanesView view_of(const PlaneBytes& b, const BlockShape& shape, size_t block = 0) {
  return at_block<PlanesView>(b, shape, block);
}

// ---- The whole-block kernels ----

inline RowParams row_params(const BlockSpec& s) {
  return {s.params.bits, s.params.block_size, s.scale_dtype};
}
inline bool has_signed_codes(const PartsCase& c) {
  return c.encoding->parts->shape(c.spec).lowest_code < 0;
}
inline const Scheme& peer_kernel(const PartsCase& c) {
  const Method& method = c.spec.params.float_zero_points ? *find_method("hqq") : peer_method();
  return *block_kernel(*c.encoding, method);
}

// What the encoding's own encoder makes of one block. Columns lie side by side, as many as any
// vector has lanes; they are all the same.
inline PlaneBytes encode_columns(const PartsCase& c, const std::vector<float>& x) {
  constexpr size_t kColumns = 17;
  const BlockSpec& s = c.spec;
  const BlockShape shape = c.encoding->parts->shape(s);
  std::vector<float> tile;
  for (const float v : x) tile.insert(tile.end(), kColumns, v);
  PlaneBytes out = make_planes(shape, 1);
  float scale, zero;
  if (c.encoding->layout == Layout::qdq_int8 || c.encoding->layout == Layout::dynamic) {
    const auto [lo, hi] = std::minmax_element(x.begin(), x.end());
    const bool is_signed = has_signed_codes(c);
    const quant::Int8Params a =
        quant::int8_from_range(*lo, *hi, s.params.symmetric, is_signed, false, s.scale_dtype);
    std::vector<std::byte> codes(tile.size());
    const std::vector<quant::Int8Params> all(kColumns, a);
    quant::int8_encode(tile.data(), kColumns, x.size(), kColumns, all.data(), is_signed,
                       codes.data(), kColumns);
    for (size_t i = 0; i < x.size(); ++i) out[0][i] = codes[i * kColumns];
    scale = a.scale;
    zero = static_cast<float>(a.zero_point);
  } else {
    const Scheme& kernel = peer_kernel(c);
    const bool packed = kernel.packing == Packing::nbits;
    const size_t stride = packed ? shape.planes[0].bytes : kColumns;
    std::vector<std::byte> codes(packed ? kColumns * stride : x.size() * stride);
    std::vector<float> scales(kColumns), zeros(kColumns);
    kernel.encode({tile.data(), kColumns, x.size(), kColumns},
                  {s.params.bits, s.params.block_size, s.params.symmetric, s.scale_dtype},
                  {codes.data(), stride, scales.data(), zeros.data()});
    for (size_t i = 0; i < (packed ? stride : x.size()); ++i)
      out[0][i] = codes[packed ? i : i * stride];
    scale = scales[0];
    zero = zeros[0];
  }
  quant::store_float(scale, s.scale_dtype, out[1].data());
  if (s.params.float_zero_points)
    quant::store_float(zero, s.scale_dtype, out[2].data());
  else if (!out[2].empty())
    out[2][0] = static_cast<std::byte>(static_cast<int>(zero));
  return out;
}

// x is one row of blocks; importance: null or one for each value.
inline PlaneBytes encode_whole(const PartsCase& c, const std::vector<float>& x,
                               const float* importance = nullptr) {
  if (!c.encoding->rows) return encode_columns(c, x);
  const BlockShape shape = c.encoding->parts->shape(c.spec);
  PlaneBytes out = make_planes(shape, x.size() / shape.values);
  c.encoding->rows->encode({x.data(), 1, x.size(), importance}, row_params(c.spec),
                           planes_of(out, shape));
  return out;
}

// n values of a block as the encoding's own decoder reads them.
inline std::vector<float> decode_whole(const PartsCase& c, const PlanesView& in, size_t n) {
  std::vector<float> x(n);
  if (c.encoding->rows) {
    c.encoding->rows->decode(in, 1, n, row_params(c.spec), x.data());
    return x;
  }
  const BlockSpec& s = c.spec;
  const bool is_signed = has_signed_codes(c);
  const float scale = quant::load_float(in[1], s.scale_dtype);
  float zero = 0;
  if (in[2] && s.params.float_zero_points)
    zero = quant::load_float(in[2], s.scale_dtype);
  else if (in[2])
    zero = is_signed ? static_cast<float>(static_cast<int8_t>(in[2][0]))
                     : static_cast<float>(std::to_integer<unsigned>(in[2][0]));
  const bool packed = c.encoding->layout == Layout::nbits;
  const BlockView view{in[0], packed ? c.encoding->parts->shape(s).planes[0].bytes : 1, &scale,
                       in[2] ? &zero : nullptr};
  quant::decode_block(packed ? Packing::nbits : Packing::n_major, s.params.bits, is_signed, view, n,
                      1, x.data(), 1);
  return x;
}

// Equal bits, or both not a number.
inline bool same_float(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

// What is stored of a grid.
inline bool same_stored(const Grid& a, const Grid& b, size_t subs) {
  bool same = same_float(a.d, b.d) && same_float(a.dmin, b.dmin);
  for (size_t s = 0; s < subs; ++s)
    same = same && a.steps[s] == b.steps[s] && a.min_steps[s] == b.min_steps[s] &&
           same_float(a.scale[s], b.scale[s]) && same_float(a.offset[s], b.offset[s]);
  return same;
}

}  // namespace phiquant::test
