// What the vector versions of the GGUF types share: codes and nibbles in the order of the values,
// and groups of blocks, one block a lane. Included once per instruction set, after hwy/highway.h.
#if defined(PHIQUANT_QUANT_GGML_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_GGML_SIMD_INL_H_
#undef PHIQUANT_QUANT_GGML_SIMD_INL_H_
#else
#define PHIQUANT_QUANT_GGML_SIMD_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "quant/ggml/blocks.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using D8 = hn::Rebind<uint8_t, DF>;         // as many bytes as floats
using DBytes = hn::CappedTag<uint8_t, 16>;  // for packing
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using MF = hn::Mask<DF>;
constexpr DF kF;
constexpr DI kI;
constexpr D8 k8;
constexpr size_t kLanes = hn::MaxLanes(DF());

// ggml::nearest_int, also where it wraps.
HWY_INLINE VI nearest_int(VF v) {
  const VI bits = hn::BitCast(kI, hn::Add(v, hn::Set(kF, 12582912.0f)));
  return hn::Sub(hn::And(bits, hn::Set(kI, 0x7fffff)), hn::Set(kI, 0x400000));
}

HWY_INLINE VI nearest_code(VF v, int lo, int hi) {
  return hn::Min(hn::Max(nearest_int(v), hn::Set(kI, lo)), hn::Set(kI, hi));
}

HWY_INLINE void store_codes8(VI codes, uint8_t* out) {
  hn::StoreU(hn::DemoteTo(k8, codes), k8, out);
}

HWY_INLINE VI load_codes8(const uint8_t* in) { return hn::PromoteTo(kI, hn::LoadU(k8, in)); }

HWY_INLINE VF load_code_floats(const uint8_t* in) { return hn::ConvertTo(kF, load_codes8(in)); }

// As ggml::pack_nibbles, for codes below 16 or whose upper bits go elsewhere; half is 16 n.
HWY_INLINE void pack_nibble_vectors(const uint8_t* codes, size_t half, std::byte* out) {
  const DBytes d;
  auto* bytes = reinterpret_cast<uint8_t*>(out);
  for (size_t i = 0; i < half; i += hn::Lanes(d)) {
    const auto low = hn::And(hn::LoadU(d, codes + i), hn::Set(d, uint8_t{15}));
    hn::StoreU(hn::Or(low, hn::ShiftLeft<4>(hn::LoadU(d, codes + half + i))), d, bytes + i);
  }
}

HWY_INLINE void unpack_nibble_vectors(const std::byte* in, size_t half, uint8_t* codes) {
  const DBytes d;
  const auto* bytes = reinterpret_cast<const uint8_t*>(in);
  for (size_t i = 0; i < half; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, bytes + i);
    hn::StoreU(hn::And(v, hn::Set(d, uint8_t{15})), d, codes + i);
    hn::StoreU(hn::ShiftRight<4>(v), d, codes + half + i);
  }
}

// ---- Groups: kGroup blocks, in kVectors vectors ----
// Two vectors at a time, because one sum after the other waits for an addition each.
constexpr size_t kVectors = 2, kGroup = kVectors * kLanes;

// Value i of every block of a group, for blocks of kN values.
template <size_t kN>
struct Lanes {
  HWY_ALIGN float v[kN * kGroup];

  HWY_INLINE VF get(size_t i, size_t u) const { return hn::Load(kF, v + i * kGroup + u * kLanes); }
  HWY_INLINE void set(size_t i, size_t u, VF value) {
    hn::Store(value, kF, v + i * kGroup + u * kLanes);
  }
  // Block b of the group starts at base + offsets[b].
  HWY_INLINE void gather(const float* base, const int32_t* offsets) {
    VI at[kVectors];
    for (size_t u = 0; u < kVectors; ++u) at[u] = hn::LoadU(kI, offsets + u * kLanes);
    for (size_t i = 0; i < kN; ++i)
      for (size_t u = 0; u < kVectors; ++u) set(i, u, hn::GatherIndex(kF, base + i, at[u]));
  }
};

// Replaces importance by weights (ggml::importance_weights); sigma2 is that of each block.
template <size_t kN>
HWY_INLINE void weigh_importance(const Lanes<kN>& x, const float* sigma2, Lanes<kN>& importance) {
  for (size_t u = 0; u < kVectors; ++u) {
    const VF s = hn::LoadU(kF, sigma2 + u * kLanes);
    for (size_t i = 0; i < kN; ++i) {
      const VF v = x.get(i, u);
      importance.set(i, u, hn::Mul(importance.get(i, u), hn::Sqrt(hn::Add(s, hn::Mul(v, v)))));
    }
  }
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
