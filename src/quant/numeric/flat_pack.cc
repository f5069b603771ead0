// Flat sub-byte values <-> one byte a value.
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/numeric/flat_pack.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// Each does whole vectors and returns how many values that were; the caller does the rest.
#if HWY_TARGET == HWY_SCALAR

size_t pack_4bit(const uint8_t*, size_t, uint8_t*) { return 0; }
size_t pack_2bit(const uint8_t*, size_t, uint8_t*) { return 0; }
size_t unpack_4bit(const uint8_t*, size_t, bool, uint8_t*) { return 0; }
size_t unpack_2bit(const uint8_t*, size_t, bool, uint8_t*) { return 0; }

#else

namespace hn = hwy::HWY_NAMESPACE;

using D8 = hn::CappedTag<uint8_t, 16>;  // interleaving then keeps the order of the whole vector
using V8 = hn::Vec<D8>;
constexpr D8 kBytes;

size_t pack_4bit(const uint8_t* values, size_t n, uint8_t* out) {
  const hn::ScalableTag<uint16_t> pairs;
  const hn::RebindToSigned<decltype(pairs)> ints;
  const hn::Rebind<uint8_t, decltype(pairs)> narrow;
  const size_t lanes = hn::Lanes(pairs);
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const auto v = hn::LoadU(pairs, reinterpret_cast<const uint16_t*>(values + i));
    const auto low = hn::And(v, hn::Set(pairs, uint16_t{0x0f}));
    const auto high = hn::And(hn::ShiftRight<4>(v), hn::Set(pairs, uint16_t{0xf0}));
    hn::StoreU(hn::DemoteTo(narrow, hn::BitCast(ints, hn::Or(low, high))), narrow, out + i / 2);
  }
  return i;
}

size_t pack_2bit(const uint8_t* values, size_t n, uint8_t* out) {
  const hn::ScalableTag<uint32_t> quads;
  const hn::RebindToSigned<decltype(quads)> ints;
  const hn::Rebind<uint8_t, decltype(quads)> narrow;
  const size_t lanes = hn::Lanes(quads);
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto v = hn::LoadU(quads, reinterpret_cast<const uint32_t*>(values + i));
    const auto v0 = hn::And(v, hn::Set(quads, 0x03u)),
               v1 = hn::And(hn::ShiftRight<6>(v), hn::Set(quads, 0x0cu));
    const auto v2 = hn::And(hn::ShiftRight<12>(v), hn::Set(quads, 0x30u));
    const auto v3 = hn::And(hn::ShiftRight<18>(v), hn::Set(quads, 0xc0u));
    const auto all = hn::Or(hn::Or(v0, v1), hn::Or(v2, v3));
    hn::StoreU(hn::DemoteTo(narrow, hn::BitCast(ints, all)), narrow, out + i / 4);
  }
  return i;
}

// Two's complement of `kBits` bits to 8.
template <int kBits>
HWY_INLINE V8 extend(V8 v, bool is_signed) {
  if (!is_signed) return v;
  const V8 half = hn::Set(kBytes, static_cast<uint8_t>(1 << (kBits - 1)));
  return hn::Sub(hn::Xor(v, half), half);
}

size_t unpack_4bit(const uint8_t* in, size_t n, bool is_signed, uint8_t* values) {
  const V8 mask = hn::Set(kBytes, uint8_t{0x0f});
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const V8 v = hn::LoadU(kBytes, in + i / 2);
    const V8 low = hn::And(v, mask), high = hn::ShiftRight<4>(v);
    hn::StoreU(extend<4>(hn::InterleaveLower(kBytes, low, high), is_signed), kBytes, values + i);
    hn::StoreU(extend<4>(hn::InterleaveUpper(kBytes, low, high), is_signed), kBytes,
               values + i + 16);
  }
  return i;
}

size_t unpack_2bit(const uint8_t* in, size_t n, bool is_signed, uint8_t* values) {
  const hn::Repartition<uint16_t, D8> pairs;
  const V8 mask = hn::Set(kBytes, uint8_t{0x03});
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const V8 v = hn::LoadU(kBytes, in + i / 4);
    const V8 v0 = hn::And(v, mask), v1 = hn::And(hn::ShiftRight<2>(v), mask);
    const V8 v2 = hn::And(hn::ShiftRight<4>(v), mask), v3 = hn::ShiftRight<6>(v);
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(kBytes, v0, v1));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(kBytes, v2, v3));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(kBytes, v0, v1));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(kBytes, v2, v3));
    const V8 q[4] = {hn::BitCast(kBytes, hn::InterleaveLower(pairs, low01, low23)),
                     hn::BitCast(kBytes, hn::InterleaveUpper(pairs, low01, low23)),
                     hn::BitCast(kBytes, hn::InterleaveLower(pairs, high01, high23)),
                     hn::BitCast(kBytes, hn::InterleaveUpper(pairs, high01, high23))};
    for (size_t j = 0; j < 4; ++j)
      hn::StoreU(extend<2>(q[j], is_signed), kBytes, values + i + 16 * j);
  }
  return i;
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
namespace {

HWY_EXPORT(pack_4bit);
HWY_EXPORT(pack_2bit);
HWY_EXPORT(unpack_4bit);
HWY_EXPORT(unpack_2bit);

}  // namespace

void pack_flat(const uint8_t* values, size_t n, unsigned bits, std::byte* out) {
  if (bits == 8) {
    if (n != 0) std::memcpy(out, values, n);
    return;
  }
  auto* bytes = reinterpret_cast<uint8_t*>(out);
  const size_t done = bits == 4 ? HWY_DYNAMIC_DISPATCH(pack_4bit)(values, n, bytes)
                                : HWY_DYNAMIC_DISPATCH(pack_2bit)(values, n, bytes);
  pack_flat_ref(values + done, n - done, bits, out + done * bits / 8);
}

void unpack_flat(const std::byte* in, size_t first, size_t n, unsigned bits, bool is_signed,
                 uint8_t* values) {
  if (bits == 8) {
    if (n != 0) std::memcpy(values, in + first, n);
    return;
  }
  // To the next whole byte, then vectors, then what is left.
  const size_t per_byte = 8 / bits, into_byte = first % per_byte;
  const size_t head = into_byte == 0 ? 0 : (per_byte - into_byte < n ? per_byte - into_byte : n);
  unpack_flat_ref(in, first, head, bits, is_signed, values);
  if (head == n) return;
  const auto* bytes = reinterpret_cast<const uint8_t*>(in) + (first + head) / per_byte;
  const size_t done =
      bits == 4 ? HWY_DYNAMIC_DISPATCH(unpack_4bit)(bytes, n - head, is_signed, values + head)
                : HWY_DYNAMIC_DISPATCH(unpack_2bit)(bytes, n - head, is_signed, values + head);
  unpack_flat_ref(in, first + head + done, n - head - done, bits, is_signed, values + head + done);
}

}  // namespace phiquant::quant
#endif  // HWY_ONCE
