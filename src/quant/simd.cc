// Which instruction set the kernels use.
#include <vector>

// The functions below exist once per instruction set; their table is what every kernel's dispatch
// looks like.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/simd.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

int64_t compiled_target() { return HWY_TARGET; }

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
namespace {

HWY_EXPORT(compiled_target);

struct Level {
  int64_t bit;
  std::string_view name;
};
constexpr Level kLevels[] = {
    {HWY_SCALAR, "scalar"}, {HWY_EMU128, "scalar"},
#if HWY_ARCH_X86
    {HWY_SSSE3, "ssse3"},   {HWY_SSE4, "sse4"},       {HWY_AVX2, "avx2"},
    {HWY_AVX3, "avx3"},     {HWY_AVX3_DL, "avx3_dl"},
#elif HWY_ARCH_ARM
    {HWY_NEON, "neon"},
#endif
};

std::string_view name_of(int64_t bit) {
  for (const Level& level : kLevels)
    if (level.bit == bit) return level.name;
  return "unknown";
}

// Bits of the levels in the order of Highway's preference: a lower bit is a better level.
const std::vector<int64_t>& available_bits() {
  static const std::vector<int64_t> bits = [] {
    std::vector<int64_t> found;
    for (int64_t rest = (hwy::SupportedTargets() & HWY_TARGETS) | HWY_STATIC_TARGET; rest != 0;
         rest &= rest - 1)
      found.push_back(rest & -rest);
    return found;
  }();
  return bits;
}

}  // namespace

std::string_view active_simd() { return name_of(HWY_DYNAMIC_DISPATCH(compiled_target)()); }

std::span<const std::string_view> available_simd() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> found;
    for (const int64_t bit : available_bits()) found.push_back(name_of(bit));
    return found;
  }();
  return names;
}

bool force_simd(std::string_view name) {
  for (const int64_t bit : available_bits()) {
    if (name_of(bit) != name) continue;
    hwy::GetChosenTarget().Update(bit);
    return true;
  }
  return false;
}

}  // namespace phiquant::quant
#endif  // HWY_ONCE
