#include "quant/ggml/q6_k.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/q6_k.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml/search-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// Super-blocks that are searched together, so that their sub-blocks fill whole groups.
constexpr size_t kQ6Batch = 2, kQ6Subs = kQ6Batch * q6_k::kSubBlocks;
static_assert(kQ6Subs % kGroup == 0);

struct Q6Found {
  float scale[kQ6Subs], inverse[kQ6Subs];
};

// The group of sub-blocks from `first` on of `n_subs`; the last one again where they are too few.
// importance: of all columns, or null; x starts at column first_column.
HWY_INLINE void search_scales(const RowTile& tile, size_t first_value, size_t first, size_t n_subs,
                              Q6Found& out) {
  int32_t at[kGroup], columns[kGroup];
  for (size_t i = 0; i < kGroup; ++i) {
    const size_t value = std::min(first + i, n_subs - 1) * 16;
    at[i] = static_cast<int32_t>(value);
    columns[i] = static_cast<int32_t>((first_value + value) % tile.k);
  }
  Lanes<16> x, w;
  x.gather(tile.x + first_value, at);
  if (tile.importance)
    w.gather(tile.importance, columns);
  else
    for (size_t i = 0; i < 16; ++i)
      for (size_t u = 0; u < kVectors; ++u) w.set(i, u, hn::Mul(x.get(i, u), x.get(i, u)));
  SymmetricSearch<16> search(x, w, 32);
  GroupScales found;
  search.run(found);
  std::copy_n(found.scale, kGroup, out.scale + first);
  std::copy_n(found.inverse, kGroup, out.inverse + first);
}

// As q6_k::store_codes.
HWY_INLINE void store_q6_codes(const uint8_t* codes, std::byte* out) {
  const DBytes d;
  auto* high = reinterpret_cast<uint8_t*>(out) + 128;
  const auto mask = hn::Set(d, uint8_t{0x30});
  for (size_t h = 0; h < 2; ++h) {
    const uint8_t* c = codes + 128 * h;
    pack_nibble_vectors(c, 64, out + 64 * h);
    for (size_t l = 0; l < 32; l += hn::Lanes(d)) {
      const auto upper = [&](size_t i) HWY_ATTR { return hn::And(hn::LoadU(d, c + i + l), mask); };
      const auto low = hn::Or(hn::ShiftRight<4>(upper(0)), hn::ShiftRight<2>(upper(32)));
      hn::StoreU(hn::Or(low, hn::Or(upper(64), hn::ShiftLeft<2>(upper(96)))), d, high + 32 * h + l);
    }
  }
}

HWY_INLINE void store_q6_block(const float* x, const float* scales, const float* inverses,
                               std::byte* out) {
  float d = 0;
  int8_t rounded[q6_k::kSubBlocks];
  if (!q6_k::store_scales(scales, out, d, rounded)) return;
  uint8_t codes[ggml::kSuper];
  for (size_t j = 0; j < q6_k::kSubBlocks; ++j) {
    const float scale = d * static_cast<float>(rounded[j]);
    for (size_t i = 16 * j; i < 16 * (j + 1); i += kLanes) {
      const VF v = hn::Div(hn::LoadU(kF, x + i), hn::Set(kF, scale));
      store_codes8(scale == 0 ? symmetric_code(x + i, inverses[j], 32)
                              : hn::Add(nearest_code(v, -32, 31), hn::Set(kI, 32)),
                   codes + i);
    }
  }
  store_q6_codes(codes, out);
}

void encode_q6_k(const RowTile& tile, const RowPlanes& out) {
  const size_t blocks = tile.n_rows * tile.k / ggml::kSuper;
  for (size_t b = 0; b < blocks; b += kQ6Batch) {
    const size_t count = std::min(kQ6Batch, blocks - b);
    Q6Found found;
    for (size_t first = 0; first < count * q6_k::kSubBlocks; first += kGroup)
      search_scales(tile, b * ggml::kSuper, first, count * q6_k::kSubBlocks, found);
    for (size_t i = 0; i < count; ++i)
      store_q6_block(tile.x + (b + i) * ggml::kSuper, found.scale + i * q6_k::kSubBlocks,
                     found.inverse + i * q6_k::kSubBlocks, out[0] + (b + i) * q6_k::kBytes);
  }
}

// Codes 0 .. 63 in order.
HWY_INLINE void load_q6_codes(const std::byte* block, uint8_t* codes) {
  const DBytes d;
  const auto* high = reinterpret_cast<const uint8_t*>(block) + 128;
  const auto mask = hn::Set(d, uint8_t{0x30});
  for (size_t h = 0; h < 2; ++h) {
    uint8_t* c = codes + 128 * h;
    unpack_nibble_vectors(block + 64 * h, 64, c);
    for (size_t l = 0; l < 32; l += hn::Lanes(d)) {
      const auto bits = hn::LoadU(d, high + 32 * h + l);
      const auto put = [&](size_t i, auto upper) HWY_ATTR {
        uint8_t* at = c + i + l;
        hn::StoreU(hn::Or(hn::LoadU(d, at), hn::And(upper, mask)), d, at);
      };
      put(0, hn::ShiftLeft<4>(bits));
      put(32, hn::ShiftLeft<2>(bits));
      put(64, bits);
      put(96, hn::ShiftRight<2>(bits));
    }
  }
}

void decode_q6_k(const RowPlanesView& in, size_t n_values, float* x) {
  for (size_t b = 0; b < n_values / ggml::kSuper; ++b) {
    const std::byte* block = in[0] + b * q6_k::kBytes;
    uint8_t codes[ggml::kSuper];
    load_q6_codes(block, codes);
    const float d = ggml::load_f16(block + q6_k::kBytes - 2);
    for (size_t j = 0; j < q6_k::kSubBlocks; ++j) {
      const auto rounded = static_cast<int8_t>(block[q6_k::kScales + j]);
      const VF scale = hn::Set(kF, d * static_cast<float>(rounded));
      for (size_t i = 16 * j; i < 16 * (j + 1); i += kLanes) {
        const VI level = hn::Sub(load_codes8(codes + i), hn::Set(kI, 32));
        hn::StoreU(hn::Mul(scale, hn::ConvertTo(kF, level)), kF, x + b * ggml::kSuper + i);
      }
    }
  }
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_q6_k);
HWY_EXPORT(decode_q6_k);

void q6_k::encode(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q6_k)(tile, out);
}
void q6_k::decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q6_k)(in, n_rows * k, x);
}
}  // namespace phiquant::quant
#endif
