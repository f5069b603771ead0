// The safetensors format on disk: u64 little-endian N, N bytes of JSON, then the tensors' bytes.
// The JSON maps names to {"dtype", "shape", "data_offsets": [begin, end]}, offsets counted from the
// first byte after it; "__metadata__" maps strings to strings. Tensors cover the data without gaps
// or overlaps. Source: huggingface/safetensors, README "Format" and safetensors/src/tensor.rs
// (header limit, contiguity).
#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor.h"

namespace phiquant {

constexpr uint64_t kSafetensorsPrefixBytes = 8;
constexpr uint64_t kSafetensorsMaxHeaderBytes = 100'000'000;
constexpr std::string_view kSafetensorsMetadataKey = "__metadata__";

struct SafetensorsDType {
  std::string_view name;
  DType dtype;
};
constexpr SafetensorsDType kSafetensorsDTypes[] = {
    {"F32", DType::f32},
    {"F16", DType::f16},
    {"BF16", DType::bf16},
    {"F64", DType::f64},
    {"BOOL", DType::boolean},
    {"I8", DType::i8},
    {"U8", DType::u8},
    {"I16", DType::i16},
    {"U16", DType::u16},
    {"I32", DType::i32},
    {"U32", DType::u32},
    {"I64", DType::i64},
    {"U64", DType::u64},
    {"F8_E4M3", DType::f8e4m3},
    {"F8_E5M2", DType::f8e5m2},
    {"F8_E8M0", DType::f8e8m0},
    {"F8_E4M3FNUZ", DType::f8e4m3fnuz},
    {"F8_E5M2FNUZ", DType::f8e5m2fnuz},
    {"F4", DType::f4e2m1},
    {"C64", DType::c64},
};

// undefined for unknown names.
constexpr DType dtype_from_safetensors(std::string_view name) {
  for (const SafetensorsDType& row : kSafetensorsDTypes)
    if (row.name == name) return row.dtype;
  return DType::undefined;
}

// "" for types that the format cannot hold.
constexpr std::string_view safetensors_from_dtype(DType dtype) {
  for (const SafetensorsDType& row : kSafetensorsDTypes)
    if (row.dtype == dtype) return row.name;
  return {};
}

}  // namespace phiquant
