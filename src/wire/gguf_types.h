// Element types of GGUF tensors: ids, names, and the bytes that a block of a row takes. Also those
// that nothing here can decode: their tensors can still be listed and copied. Source: ggml's ggml.h
// (enum ggml_type) and ggml-common.h (block structures).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/tensor.h"

namespace phiquant {

enum GgmlType : uint32_t {
  kGgmlF32 = 0,
  kGgmlF16 = 1,
  kGgmlQ4_0 = 2,
  kGgmlQ4_1 = 3,
  kGgmlQ5_0 = 6,
  kGgmlQ5_1 = 7,
  kGgmlQ8_0 = 8,
  kGgmlQ2_K = 10,
  kGgmlQ3_K = 11,
  kGgmlQ4_K = 12,
  kGgmlQ5_K = 13,
  kGgmlQ6_K = 14,
  kGgmlIQ2_XXS = 16,
  kGgmlIQ2_XS = 17,
  kGgmlIQ3_XXS = 18,
  kGgmlIQ1_S = 19,
  kGgmlIQ4_NL = 20,
  kGgmlIQ3_S = 21,
  kGgmlIQ2_S = 22,
  kGgmlIQ4_XS = 23,
  kGgmlI8 = 24,
  kGgmlI16 = 25,
  kGgmlI32 = 26,
  kGgmlI64 = 27,
  kGgmlF64 = 28,
  kGgmlIQ1_M = 29,
  kGgmlBF16 = 30,
  kGgmlTQ1_0 = 34,
  kGgmlTQ2_0 = 35,
  kGgmlMXFP4 = 39,
  kGgmlNVFP4 = 40,
  kGgmlQ1_0 = 41,
  kGgmlQ2_0 = 42,
};

struct GgmlTypeInfo {
  GgmlType id;
  std::string_view name;  // as row schemes and the command line have it
  uint32_t block_size;    // values; rows hold whole blocks
  uint32_t block_bytes;
  DType dtype = DType::undefined;  // of plain elements; undefined: quantized
};

// In the order of ids.
std::span<const GgmlTypeInfo> ggml_types();
// nullptr where unknown or retired.
const GgmlTypeInfo* find_ggml_type(uint32_t id);
// By name, letters of any case.
const GgmlTypeInfo* find_ggml_type(std::string_view name);
// The id of a float type: f32, f16 or bf16.
GgmlType ggml_from_dtype(DType dtype);

}  // namespace phiquant
