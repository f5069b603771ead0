// The GGUF container, version 3, little endian: "GGUF", u32 version, u64 tensor count, u64 key
// count, key-values, tensor infos, padding, tensor data. Source: ggml's docs/gguf.md and gguf.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace phiquant {

constexpr uint32_t kGgufMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kGgufVersion = 3;         // 2 has the same layout and is read too
constexpr uint64_t kGgufAlignment = 32;      // unless general.alignment says otherwise

enum class GgufType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

struct GgufArray;
// In the order of GgufType, so that index() is the type.
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                               std::string, GgufArray, uint64_t, int64_t, double>;
struct GgufArray {
  GgufType type = GgufType::u32;  // of the elements, also where there are none
  std::vector<GgufValue> values;  // all of that type
};

struct GgufKeyValue {
  std::string key;
  GgufValue value;
};

}  // namespace phiquant
