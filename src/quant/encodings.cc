// The table of encodings: those of the ONNX operators and, with the kernels of their rows, GGUF
// types and MLX modes.
#include "quant/encoding.h"

#include <algorithm>
#include <array>

#include "quant/blocks/gather.h"
#include "quant/blocks/nbits_parts.h"
#include "quant/blocks/qdq.h"
#include "quant/ggml/iq4.h"
#include "quant/ggml/mxfp4_gguf.h"
#include "quant/ggml/q2_k.h"
#include "quant/ggml/q3_k.h"
#include "quant/ggml/q4_0.h"
#include "quant/ggml/q4_1.h"
#include "quant/ggml/q4_k.h"
#include "quant/ggml/q6_k.h"
#include "quant/ggml/q8_0.h"
#include "quant/ggml/ternary.h"
#include "quant/mlx/affine.h"
#include "quant/mlx/fp.h"
#include "quant/numeric/int8_parts.h"

namespace phiquant {
namespace {

using namespace quant;
namespace mlx_affine = quant::mlx_affine;
namespace mlx_fp = quant::mlx_fp;
using Fp = mlx_fp::Mode;
using int8::Signs;
constexpr RowFamily kGguf = RowFamily::gguf;

constexpr Encoding kOnnx[] = {
    {"MatMulNBits", Layout::nbits, "blocks for com.microsoft::MatMulNBits", &nbits::kParts,
     Packing::nbits},
    {"GatherBlockQuantized", Layout::gather, "blocks of embedding tables", &gather::kParts,
     Packing::n_major},
    {"DequantizeLinear in blocks", Layout::qdq_blocks, "blocks for the standard DequantizeLinear",
     &qdq::kParts, Packing::k_major},
    {"DequantizeLinear", Layout::qdq_int8, "8 bits, a scale per channel or tensor",
     &int8::kParts<Signs::always>},
    {"DynamicQuantizeLinear", Layout::dynamic,
     "the same, activations quantized at run time (MatMulInteger, ConvInteger)",
     &int8::kParts<Signs::symmetric>},
};

// clang-format off
constexpr RowScheme kRowSchemes[] = {
    // name    summary                                      family type imatrix parts  reference, fast, decode
    {"q4_0", "32 x 4 bits, one scale",                          kGguf, 2,  true,  &q4_0::kParts<4>, q4_0::encode_ref<4>, q4_0::encode<4>, q4_0::decode<4>},
    {"q4_1", "32 x 4 bits, scale and minimum",                  kGguf, 3,  true,  &q4_1::kParts<4>, q4_1::encode_ref<4>, q4_1::encode<4>, q4_1::decode<4>},
    {"q5_0", "32 x 5 bits, one scale",                          kGguf, 6,  true,  &q4_0::kParts<5>, q4_0::encode_ref<5>, q4_0::encode<5>, q4_0::decode<5>},
    {"q5_1", "32 x 5 bits, scale and minimum",                  kGguf, 7,  true,  &q4_1::kParts<5>, q4_1::encode_ref<5>, q4_1::encode<5>, q4_1::decode<5>},
    {"q8_0", "32 x 8 bits, one scale",                          kGguf, 8,  false, &q8_0::kParts, q8_0::encode_ref, q8_0::encode, q8_0::decode},
    {"q2_k", "256 x 2 bits, four-bit scale and minimum of each 16", kGguf, 10, true, &q2_k::kParts, q2_k::encode_ref, q2_k::encode, q2_k::decode},
    {"q3_k", "256 x 3 bits, six-bit scale of each 16",           kGguf, 11, true, &q3_k::kParts, q3_k::encode_ref, q3_k::encode, q3_k::decode},
    {"q4_k", "256 x 4 bits, six-bit scale and offset of each 32", kGguf, 12, true, &q4_k::kParts<4>, q4_k::encode_ref<4>, q4_k::encode<4>, q4_k::decode<4>},
    {"q5_k", "256 x 5 bits, six-bit scale and offset of each 32", kGguf, 13, true, &q4_k::kParts<5>, q4_k::encode_ref<5>, q4_k::encode<5>, q4_k::decode<5>},
    {"q6_k", "256 x 6 bits, eight-bit scale of each 16",         kGguf, 14, true, &q6_k::kParts, q6_k::encode_ref, q6_k::encode, q6_k::decode},
    {"iq4_nl", "32 codes of 16 uneven levels, one scale",    kGguf, 20, true,  &iq4::kNl, iq4::encode_nl_ref, iq4::encode_nl, iq4::decode_nl},
    {"iq4_xs", "256 codes of 16 uneven levels, six-bit scale of each 32", kGguf, 23, true, &iq4::kXs, iq4::encode_xs_ref, iq4::encode_xs, iq4::decode_xs},
    {"mxfp4",  "32 x E2M1 floats that share a power of two", kGguf, 39, false, &mxfp4_gguf::kParts, mxfp4_gguf::encode_ref, mxfp4_gguf::encode, mxfp4_gguf::decode},
    {"tq1_0",  "256 x -1, 0, 1, five in a byte",             kGguf, 34, false, &ternary::kTq1, ternary::encode_tq1_ref, ternary::encode_tq1, ternary::decode_tq1},
    {"tq2_0",  "256 x -1, 0, 1, two bits each",              kGguf, 35, false, &ternary::kTq2, ternary::encode_tq2_ref, ternary::encode_tq2, ternary::decode_tq2},
    // ---- mlx: name, what it is, family, ggml_type, takes importance, parts, reference, fast, decode
    {"affine", "codes with a scale and an offset for each group", RowFamily::mlx, 0, false, &mlx_affine::kParts, mlx_affine::encode_ref, mlx_affine::encode, mlx_affine::decode},
    {"mxfp4", "E2M1 codes, a power of two for each 32", RowFamily::mlx, 0, false, &mlx_fp::kParts<Fp::mxfp4>, mlx_fp::encode_ref<Fp::mxfp4>, mlx_fp::encode<Fp::mxfp4>, mlx_fp::decode<Fp::mxfp4>},
    {"nvfp4", "E2M1 codes, an E4M3 scale for each 16", RowFamily::mlx, 0, false, &mlx_fp::kParts<Fp::nvfp4>, mlx_fp::encode_ref<Fp::nvfp4>, mlx_fp::encode<Fp::nvfp4>, mlx_fp::decode<Fp::nvfp4>},
    {"mxfp8", "E4M3 codes, a power of two for each 32", RowFamily::mlx, 0, false, &mlx_fp::kParts<Fp::mxfp8>, mlx_fp::encode_ref<Fp::mxfp8>, mlx_fp::encode<Fp::mxfp8>, mlx_fp::decode<Fp::mxfp8>},
};
// clang-format on

constexpr size_t kOnnxCount = std::size(kOnnx);

constexpr auto kEncodings = [] {
  std::array<Encoding, kOnnxCount + std::size(kRowSchemes)> all = {};
  std::copy(std::begin(kOnnx), std::end(kOnnx), all.begin());
  for (size_t i = 0; i < std::size(kRowSchemes); ++i) {
    const RowScheme& rows = kRowSchemes[i];
    all[kOnnxCount + i] = {rows.name,    rows.family == kGguf ? Layout::gguf : Layout::mlx,
                           rows.summary, rows.parts,
                           std::nullopt, &rows};
  }
  return all;
}();

}  // namespace

std::span<const RowScheme> row_schemes() { return kRowSchemes; }

std::span<const Encoding> encodings() { return kEncodings; }

const Encoding& onnx_encoding(Layout layout) {
  return *std::find_if(kEncodings.begin(), kEncodings.end(),
                       [&](const Encoding& e) { return e.layout == layout; });
}

const Encoding* find_encoding(Layout layout, std::string_view name) {
  for (const Encoding& e : kEncodings)
    if (e.layout == layout && e.name == name) return &e;
  return nullptr;
}

}  // namespace phiquant
