#include "quant/mlx/fp.h"

#include "quant/mlx/bits.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/mlx/fp.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace spec = phiquant::quant::mlx_fp;
using spec::Mode;

using FpF = hn::CappedTag<float, 16>;
using FpI = hn::RebindToSigned<FpF>;
using FpB = hn::Rebind<uint8_t, FpF>;

HWY_INLINE float largest_of(const float* x, size_t n) {
  const FpF d;
  auto largest = hn::Zero(d);
  for (size_t i = 0; i < n; i += hn::Lanes(d))
    largest = hn::Max(largest, hn::Abs(hn::LoadU(d, x + i)));
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

// Half-way points between neighbouring values: the code of a magnitude is how many are below it.
constexpr float kFp4Bounds[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};

HWY_INLINE hn::Vec<FpI> fp4_codes(hn::Vec<FpF> q) {
  const FpF d;
  const FpI di;
  const auto magnitude = hn::Abs(q);
  auto count = hn::Zero(di);  // counts down
  for (const float bound : kFp4Bounds)
    count = hn::Add(count,
                    hn::VecFromMask(di, hn::RebindMask(di, hn::Gt(magnitude, hn::Set(d, bound)))));
  const auto negative = hn::Lt(q, hn::Set(d, -kFp4Bounds[0]));
  const auto sign = hn::IfThenElseZero(hn::RebindMask(di, negative), hn::Set(di, 8));
  return hn::Sub(sign, count);
}

HWY_INLINE hn::Vec<FpI> e4m3_codes(hn::Vec<FpF> q) {
  const FpF d;
  const FpI di;
  const auto set = [&](uint32_t v) HWY_ATTR { return hn::Set(di, static_cast<int32_t>(v)); };
  const auto magnitude = hn::Abs(q);
  const auto u = hn::BitCast(di, magnitude), all = hn::BitCast(di, q);
  const auto denormal = set(141u << 23);
  const auto low = hn::Sub(hn::BitCast(di, hn::Add(magnitude, hn::BitCast(d, denormal))), denormal);
  const auto odd = hn::And(hn::ShiftRight<20>(u), hn::Set(di, 1));
  const auto high = hn::ShiftRight<20>(hn::Add(hn::Sub(u, set((120u << 23) - 0x7ffffu)), odd));
  auto code = hn::IfThenElse(hn::Lt(u, set(121u << 23)), low, high);
  code = hn::IfThenElse(hn::Gt(u, set((543u << 21) - 1)), hn::Set(di, 0x7e), code);
  return hn::Or(code, hn::And(hn::ShiftRight<24>(all), hn::Set(di, 0x80)));
}

// spec::scale_of without calls into the C library, where the scale is a normal power of two.
HWY_INLINE spec::Scale fast_scale_of(float largest, Mode mode, DType dtype) {
  if (mode == Mode::nvfp4) return spec::scale_of(largest, mode, dtype);
  const float s = spec::round_to(largest / (mode == Mode::mxfp8 ? 448.0f : 6.0f), dtype);
  if (!(s >= 0x1p-126f && s < 0x1p126f)) return spec::scale_of(largest, mode, dtype);
  const uint32_t up = (std::bit_cast<uint32_t>(s) + 0x7fffffu) >> 23;  // the exponent, rounded up
  return {static_cast<uint8_t>(up), std::bit_cast<float>(up << 23)};
}

template <Mode kMode>
void encode_fp(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  const FpF d;
  const FpB db;
  constexpr size_t kGroup = spec::group_size(kMode), kBits = spec::code_bits(kMode);
  constexpr float kLargestQuotient = 64;  // below it all quotients differ from two neighbours
  HWY_ALIGN uint8_t unpacked[kGroup];
  for (size_t g = 0; g < tile.n_rows * tile.k / kGroup; ++g) {
    const float* x = tile.x + g * kGroup;
    std::byte* const codes = out[0] + g * kGroup * kBits / 8;
    const float largest = largest_of(x, kGroup);
    const spec::Scale s = fast_scale_of(largest, kMode, p.scale_dtype);
    // Saturated or absent scales, where the reference's rounded distances decide.
    if (kMode == Mode::nvfp4 && !(largest < s.value * kLargestQuotient)) {
      spec::encode_ref<kMode>({x, 1, kGroup}, p, {codes, out[1] + g});
      continue;
    }
    out[1][g] = std::byte{s.code};
    // Dividing by a power of two is multiplying by its reciprocal, where that is a normal number.
    const bool multiplies = kMode != Mode::nvfp4 && s.value >= 0x1p-126f && s.value <= 0x1p126f;
    const auto scale = hn::Set(d, multiplies ? 1 / s.value : s.value);
    for (size_t i = 0; i < kGroup; i += hn::Lanes(d)) {
      const auto v = hn::LoadU(d, x + i);
      const auto q = multiplies ? hn::Mul(v, scale) : hn::Div(v, scale);
      const auto code = kMode == Mode::mxfp8 ? e4m3_codes(q) : fp4_codes(q);
      hn::StoreU(hn::DemoteTo(db, code), db, unpacked + i);
    }
    pack_codes<kBits>(unpacked, kGroup, codes);
  }
}

HWY_INLINE hn::Vec<FpF> fp4_values(hn::Vec<FpI> code) {
  const FpF d;
  const FpI di;
  // Twice the magnitude: 0 1 2 3 4 6 8 12 = m < 4: m, else (2 + odd) * 2^(m / 2 - 1).
  const auto m = hn::And(code, hn::Set(di, 7)), odd = hn::And(code, hn::Set(di, 1));
  const auto mantissa = hn::Add(odd, hn::Set(di, 2));
  const auto doubled = hn::IfThenElse(hn::Gt(m, hn::Set(di, 5)), hn::ShiftLeft<2>(mantissa),
                                      hn::ShiftLeft<1>(mantissa));
  const auto twice = hn::IfThenElse(hn::Gt(m, hn::Set(di, 3)), doubled, m);
  const auto magnitude = hn::Mul(hn::ConvertTo(d, twice), hn::Set(d, 0.5f));
  return hn::CopySignToAbs(magnitude, hn::BitCast(d, hn::ShiftLeft<28>(code)));
}

HWY_INLINE hn::Vec<FpF> e4m3_values(hn::Vec<FpI> code) {
  const FpF d;
  const FpI di;
  const auto m = hn::And(code, hn::Set(di, 0x7f));
  const auto small = hn::Mul(hn::ConvertTo(d, m), hn::Set(d, 0x1p-9f));
  const auto normal = hn::BitCast(d, hn::Add(hn::ShiftLeft<20>(m), hn::Set(di, 120 << 23)));
  const auto is_small = hn::RebindMask(d, hn::Lt(m, hn::Set(di, 8)));
  return hn::CopySignToAbs(hn::IfThenElse(is_small, small, normal),
                           hn::BitCast(d, hn::ShiftLeft<24>(code)));
}

template <Mode kMode>
void decode_fp(const RowPlanesView& in, size_t n_values, float* x) {
  const FpF d;
  const FpI di;
  const FpB db;
  constexpr size_t kGroup = spec::group_size(kMode), kBits = spec::code_bits(kMode);
  HWY_ALIGN uint8_t codes[kGroup];
  for (size_t g = 0; g < n_values / kGroup; ++g) {
    unpack_codes<kBits>(in[0] + g * kGroup * kBits / 8, kGroup, codes);
    const auto scale = hn::Set(d, spec::scale_value(kMode, in[1][g]));
    for (size_t i = 0; i < kGroup; i += hn::Lanes(d)) {
      const auto code = hn::PromoteTo(di, hn::LoadU(db, codes + i));
      const auto value = kMode == Mode::mxfp8 ? e4m3_values(code) : fp4_values(code);
      hn::StoreU(hn::Mul(value, scale), d, x + g * kGroup + i);
    }
  }
}

void encode_mxfp4(const RowTile& t, const RowParams& p, const RowPlanes& out) {
  encode_fp<Mode::mxfp4>(t, p, out);
}
void encode_nvfp4(const RowTile& t, const RowParams& p, const RowPlanes& out) {
  encode_fp<Mode::nvfp4>(t, p, out);
}
void encode_mxfp8(const RowTile& t, const RowParams& p, const RowPlanes& out) {
  encode_fp<Mode::mxfp8>(t, p, out);
}
void decode_mxfp4(const RowPlanesView& in, size_t n, float* x) { decode_fp<Mode::mxfp4>(in, n, x); }
void decode_nvfp4(const RowPlanesView& in, size_t n, float* x) { decode_fp<Mode::nvfp4>(in, n, x); }
void decode_mxfp8(const RowPlanesView& in, size_t n, float* x) { decode_fp<Mode::mxfp8>(in, n, x); }

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_mxfp4);
HWY_EXPORT(encode_nvfp4);
HWY_EXPORT(encode_mxfp8);
HWY_EXPORT(decode_mxfp4);
HWY_EXPORT(decode_nvfp4);
HWY_EXPORT(decode_mxfp8);
namespace mlx_fp {

template <Mode kMode>
void encode(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  if constexpr (kMode == Mode::mxfp4)
    HWY_DYNAMIC_DISPATCH(encode_mxfp4)(tile, p, out);
  else if constexpr (kMode == Mode::nvfp4)
    HWY_DYNAMIC_DISPATCH(encode_nvfp4)(tile, p, out);
  else
    HWY_DYNAMIC_DISPATCH(encode_mxfp8)(tile, p, out);
}

template <Mode kMode>
void decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  if constexpr (kMode == Mode::mxfp4)
    HWY_DYNAMIC_DISPATCH(decode_mxfp4)(in, n_rows * k, x);
  else if constexpr (kMode == Mode::nvfp4)
    HWY_DYNAMIC_DISPATCH(decode_nvfp4)(in, n_rows * k, x);
  else
    HWY_DYNAMIC_DISPATCH(decode_mxfp8)(in, n_rows * k, x);
}

template void encode<Mode::mxfp4>(const RowTile&, const RowParams&, const RowPlanes&);
template void encode<Mode::nvfp4>(const RowTile&, const RowParams&, const RowPlanes&);
template void encode<Mode::mxfp8>(const RowTile&, const RowParams&, const RowPlanes&);
template void decode<Mode::mxfp4>(const RowPlanesView&, size_t, size_t, const RowParams&, float*);
template void decode<Mode::nvfp4>(const RowPlanesView&, size_t, size_t, const RowParams&, float*);
template void decode<Mode::mxfp8>(const RowPlanesView&, size_t, size_t, const RowParams&, float*);

}  // namespace mlx_fp
}  // namespace phiquant::quant
#endif
