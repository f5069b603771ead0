#include "wire/gguf_types.h"

#include <algorithm>
#include <cctype>

namespace phiquant {
namespace {

constexpr GgmlTypeInfo kTypes[] = {
    {kGgmlF32, "f32", 1, 4, DType::f32},
    {kGgmlF16, "f16", 1, 2, DType::f16},
    {kGgmlQ4_0, "q4_0", 32, 18},
    {kGgmlQ4_1, "q4_1", 32, 20},
    {kGgmlQ5_0, "q5_0", 32, 22},
    {kGgmlQ5_1, "q5_1", 32, 24},
    {kGgmlQ8_0, "q8_0", 32, 34},
    {kGgmlQ2_K, "q2_k", 256, 84},
    {kGgmlQ3_K, "q3_k", 256, 110},
    {kGgmlQ4_K, "q4_k", 256, 144},
    {kGgmlQ5_K, "q5_k", 256, 176},
    {kGgmlQ6_K, "q6_k", 256, 210},
    {kGgmlIQ2_XXS, "iq2_xxs", 256, 66},
    {kGgmlIQ2_XS, "iq2_xs", 256, 74},
    {kGgmlIQ3_XXS, "iq3_xxs", 256, 98},
    {kGgmlIQ1_S, "iq1_s", 256, 50},
    {kGgmlIQ4_NL, "iq4_nl", 32, 18},
    {kGgmlIQ3_S, "iq3_s", 256, 110},
    {kGgmlIQ2_S, "iq2_s", 256, 82},
    {kGgmlIQ4_XS, "iq4_xs", 256, 136},
    {kGgmlI8, "i8", 1, 1, DType::i8},
    {kGgmlI16, "i16", 1, 2, DType::i16},
    {kGgmlI32, "i32", 1, 4, DType::i32},
    {kGgmlI64, "i64", 1, 8, DType::i64},
    {kGgmlF64, "f64", 1, 8, DType::f64},
    {kGgmlIQ1_M, "iq1_m", 256, 56},
    {kGgmlBF16, "bf16", 1, 2, DType::bf16},
    {kGgmlTQ1_0, "tq1_0", 256, 54},
    {kGgmlTQ2_0, "tq2_0", 256, 66},
    {kGgmlMXFP4, "mxfp4", 32, 17},
    {kGgmlNVFP4, "nvfp4", 64, 36},
    {kGgmlQ1_0, "q1_0", 128, 18},
    {kGgmlQ2_0, "q2_0", 64, 18},
};

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

}  // namespace

std::span<const GgmlTypeInfo> ggml_types() { return kTypes; }

const GgmlTypeInfo* find_ggml_type(uint32_t id) {
  for (const GgmlTypeInfo& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

const GgmlTypeInfo* find_ggml_type(std::string_view name) {
  for (const GgmlTypeInfo& type : kTypes)
    if (same_word(type.name, name)) return &type;
  return nullptr;
}

GgmlType ggml_from_dtype(DType dtype) {
  return dtype == DType::f16 ? kGgmlF16 : dtype == DType::bf16 ? kGgmlBF16 : kGgmlF32;
}

}  // namespace phiquant
