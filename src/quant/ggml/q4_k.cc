#include "quant/ggml/q4_k.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/q4_k.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml/search-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// Super-blocks that are searched together, so that their sub-blocks fill whole groups.
constexpr size_t kOffsetBatch = 4, kOffsetSubs = kOffsetBatch * q4_k::kSubBlocks;
static_assert(kOffsetSubs % kGroup == 0);

// Neighbouring super-blocks, at most kOffsetBatch.
struct OffsetTask {
  const float* x;
  const float* importance;  // of all columns, or null
  size_t k, first_column;
  size_t n_subs;
  float sigma2[kOffsetBatch];  // with importance
};

// What the search gives for each sub-block.
struct OffsetFound {
  float scale[kOffsetSubs], min[kOffsetSubs], inverse[kOffsetSubs], code_min[kOffsetSubs];
  float weights[kOffsetSubs];
};

HWY_INLINE void weigh_magnitude(const Lanes<32>& x, Lanes<32>& w) {
  for (size_t u = 0; u < kVectors; ++u) {
    VF sum = hn::Zero(kF);
    for (size_t i = 0; i < 32; ++i) sum = hn::Add(sum, hn::Mul(x.get(i, u), x.get(i, u)));
    const VF mean_root = hn::Sqrt(hn::Div(sum, hn::Set(kF, 32.0f)));
    for (size_t i = 0; i < 32; ++i) w.set(i, u, hn::Add(mean_root, hn::Abs(x.get(i, u))));
  }
}

HWY_INLINE void sum_weights(const Lanes<32>& w, float* sums) {
  for (size_t u = 0; u < kVectors; ++u) {
    VF sum = hn::Zero(kF);
    for (size_t i = 0; i < 32; ++i) sum = hn::Add(sum, w.get(i, u));
    hn::StoreU(sum, kF, sums + u * kLanes);
  }
}

// The group of sub-blocks from `first` on; the last one again where they are too few.
template <unsigned kBits>
HWY_INLINE bool search_offsets(const OffsetTask& task, size_t first, OffsetFound& out) {
  int32_t at[kGroup], columns[kGroup];
  float sigma2[kGroup];
  for (size_t i = 0; i < kGroup; ++i) {
    const size_t sub = std::min(first + i, task.n_subs - 1);
    at[i] = static_cast<int32_t>(sub * 32);
    columns[i] = static_cast<int32_t>((task.first_column + sub * 32) % task.k);
    sigma2[i] = task.sigma2[sub / q4_k::kSubBlocks];
  }
  Lanes<32> x, w;
  x.gather(task.x, at);
  if (task.importance) {
    w.gather(task.importance, columns);
    weigh_importance(x, sigma2, w);
    sum_weights(w, out.weights + first);
  } else {
    weigh_magnitude(x, w);
  }
  OffsetSearch<32> search(x, w, q4_k::kTop<kBits>);
  GroupOffsets found;
  if (!search.run(task.importance ? q4_1::kWeightedTrials : q4_k::kTrials<kBits>, found))
    return false;
  std::copy_n(found.scale, kGroup, out.scale + first);
  std::copy_n(found.min, kGroup, out.min + first);
  std::copy_n(found.inverse, kGroup, out.inverse + first);
  std::copy_n(found.code_min, kGroup, out.code_min + first);
  return true;
}

// Codes of a sub-block for the scale and offset as they are stored.
HWY_INLINE void encode_sub_block(const float* x, float d, float offset, int top, uint8_t* codes) {
  const VF scale = hn::Set(kF, d), o = hn::Set(kF, offset);
  for (size_t i = 0; i < 32; i += kLanes)
    store_codes8(nearest_code(hn::Div(hn::Add(hn::LoadU(kF, x + i), o), scale), 0, top), codes + i);
}

template <unsigned kBits>
HWY_INLINE void store_offset_codes(const uint8_t* codes, std::byte* out) {
  std::byte* nibbles = out + q4_k::kBytes<kBits> - 128;
  for (size_t g = 0; g < 4; ++g) pack_nibble_vectors(codes + 64 * g, 32, nibbles + 32 * g);
  if (kBits != 5) return;
  const DBytes d;
  for (size_t l = 0; l < 32; l += hn::Lanes(d)) {
    auto bits = hn::Zero(d);
    for (size_t j = q4_k::kSubBlocks; j-- > 0;)
      bits = hn::Or(hn::Add(bits, bits), hn::ShiftRight<4>(hn::LoadU(d, codes + 32 * j + l)));
    hn::StoreU(bits, d, reinterpret_cast<uint8_t*>(out) + 16 + l);
  }
}

// Super-block `b` of the task.
template <unsigned kBits>
HWY_INLINE void store_super_block(const OffsetTask& task, const OffsetFound& found, size_t b,
                                  std::byte* out) {
  const float* x = task.x + b * ggml::kSuper;
  const size_t first = b * q4_k::kSubBlocks;
  q4_k::Fit fit;
  for (size_t j = 0; j < q4_k::kSubBlocks; ++j) {
    fit.scales[j] = found.scale[first + j];
    fit.offsets[j] = -found.min[first + j];
    fit.weights[j] = task.importance ? found.weights[first + j] : 0;
  }
  const q4_k::Stored s = q4_k::store_scales<kBits>(fit, task.importance != nullptr, out);
  uint8_t codes[ggml::kSuper];
  for (size_t j = 0; j < q4_k::kSubBlocks; ++j) {
    const float* sub = x + 32 * j;
    const float d = s.scale(j);
    if (d == 0)
      for (size_t i = 0; i < 32; i += kLanes)
        store_codes8(offset_code(sub + i, found.inverse[first + j], found.code_min[first + j],
                                 q4_k::kTop<kBits>),
                     codes + 32 * j + i);
    else
      encode_sub_block(sub, d, s.offset(j), q4_k::kTop<kBits>, codes + 32 * j);
  }
  store_offset_codes<kBits>(codes, out);
}

template <unsigned kBits>
HWY_INLINE void encode_offset_blocks(const RowTile& tile, const RowPlanes& out) {
  constexpr size_t kBytes = q4_k::kBytes<kBits>;
  const size_t blocks = tile.n_rows * tile.k / ggml::kSuper;
  for (size_t b = 0; b < blocks; b += kOffsetBatch) {
    const size_t count = std::min(kOffsetBatch, blocks - b);
    OffsetTask task{tile.x + b * ggml::kSuper, tile.importance,          tile.k,
                    b * ggml::kSuper % tile.k, count * q4_k::kSubBlocks, {}};
    if (task.importance)
      for (size_t i = 0; i < count; ++i)
        task.sigma2[i] = ggml::mean_square(task.x + i * ggml::kSuper, ggml::kSuper, 2);
    OffsetFound found;
    bool whole = true;
    for (size_t first = 0; first < task.n_subs; first += kGroup)
      whole = whole && search_offsets<kBits>(task, first, found);
    for (size_t i = 0; i < count; ++i) {
      std::byte* block = out[0] + (b + i) * kBytes;
      const size_t column = (b + i) * ggml::kSuper % tile.k;
      if (whole)
        store_super_block<kBits>(task, found, i, block);
      else
        q4_k::encode_block_ref<kBits>(task.x + i * ggml::kSuper,
                                      tile.importance ? tile.importance + column : nullptr, block);
    }
  }
}

template <unsigned kBits>
HWY_INLINE void decode_offset_blocks(const RowPlanesView& in, size_t n_values, float* x) {
  const DBytes d8;
  for (size_t b = 0; b < n_values / ggml::kSuper; ++b) {
    const std::byte* block = in[0] + b * q4_k::kBytes<kBits>;
    q4_k::Stored s{ggml::load_f16(block), ggml::load_f16(block + 2), {}, {}};
    ggml::unpack_six_bits(block + 4, s.scales, s.offsets);
    uint8_t codes[ggml::kSuper];
    for (size_t g = 0; g < 4; ++g)
      unpack_nibble_vectors(block + q4_k::kBytes<kBits> - 128 + 32 * g, 32, codes + 64 * g);
    if (kBits == 5)
      for (size_t l = 0; l < 32; l += hn::Lanes(d8)) {
        auto bits = hn::LoadU(d8, reinterpret_cast<const uint8_t*>(block) + 16 + l);
        for (size_t j = 0; j < q4_k::kSubBlocks; ++j) {
          uint8_t* at = codes + 32 * j + l;
          const auto fifth = hn::ShiftLeft<4>(hn::And(bits, hn::Set(d8, uint8_t{1})));
          hn::StoreU(hn::Or(hn::LoadU(d8, at), fifth), d8, at);
          bits = hn::ShiftRight<1>(bits);
        }
      }
    for (size_t j = 0; j < q4_k::kSubBlocks; ++j) {
      const VF scale = hn::Set(kF, s.scale(j)), offset = hn::Set(kF, s.offset(j));
      for (size_t i = 32 * j; i < 32 * (j + 1); i += kLanes)
        hn::StoreU(hn::Sub(hn::Mul(scale, load_code_floats(codes + i)), offset), kF,
                   x + b * ggml::kSuper + i);
    }
  }
}

void encode_q4_k(const RowTile& tile, const RowPlanes& out) { encode_offset_blocks<4>(tile, out); }
void encode_q5_k(const RowTile& tile, const RowPlanes& out) { encode_offset_blocks<5>(tile, out); }
void decode_q4_k(const RowPlanesView& in, size_t n, float* x) { decode_offset_blocks<4>(in, n, x); }
void decode_q5_k(const RowPlanesView& in, size_t n, float* x) { decode_offset_blocks<5>(in, n, x); }

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_q4_k);
HWY_EXPORT(encode_q5_k);
HWY_EXPORT(decode_q4_k);
HWY_EXPORT(decode_q5_k);

template <>
void q4_k::encode<4>(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q4_k)(tile, out);
}
template <>
void q4_k::encode<5>(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q5_k)(tile, out);
}
template <>
void q4_k::decode<4>(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q4_k)(in, n_rows * k, x);
}
template <>
void q4_k::decode<5>(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q5_k)(in, n_rows * k, x);
}
}  // namespace phiquant::quant
#endif
