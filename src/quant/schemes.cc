#include "quant/scheme.h"

#include "quant/blocks/gather.h"
#include "quant/blocks/hqq.h"
#include "quant/blocks/k_quant.h"
#include "quant/blocks/matmul_nbits.h"
#include "quant/blocks/qdq.h"
#include "quant/blocks/rtn.h"
#include "quant/blocks/search.h"

namespace phiquant {
namespace {

using namespace quant;
constexpr unsigned b2 = 1u << 2, b4 = 1u << 4, b8 = 1u << 8;

// clang-format off
constexpr Scheme kSchemes[] = {
    //                                                            bits           sym    asym   float
    // name, summary,                          packing, method                 offered                      zp
    {"matmul_nbits", "ONNX Runtime's default blocks for MatMulNBits",
                                               Packing::nbits, "peer",       b2 | b4 | b8,  true,  true,  false,
                                               matmul_nbits::encode_ref, matmul_nbits::encode},
    {"search", "blocks for MatMulNBits, scale searched for the least error",
                                               Packing::nbits, "search",     b4 | b8,       true,  true,  false,
                                               search::encode_ref, search::encode},
    {"k_quant", "ONNX Runtime's k_quant blocks for MatMulNBits, asymmetric",
                                               Packing::nbits, "k_quant",    b4 | b8,       false, true,  false,
                                               k_quant::encode_ref, k_quant::encode},
    {"rtn", "ONNX Runtime's RTN blocks for MatMulNBits, for compatibility",
                                               Packing::nbits, "rtn",        b4 | b8,       true,  true,  false,
                                               rtn::encode_ref, rtn::encode},
    {"hqq", "half-quadratic blocks for MatMulNBits, float zero points",
                                               Packing::nbits, "hqq",        b2 | b4,       false, true,  true,   // ONNX Runtime: no 8 bits here
                                               hqq::encode_ref, hqq::encode,
                                               hqq::add_step_errors, hqq::steps_taken, hqq::kDefaultSteps},
    {"qdq", "blocks for the standard DequantizeLinear before a MatMul",
                                               Packing::k_major, "peer",       b4 | b8,       true,  true,  false,
                                               qdq::encode_ref, qdq::encode},
    {"gather", "blocks for GatherBlockQuantized embeddings",
                                               Packing::n_major, "peer",       b4 | b8,       true,  true,  false,
                                               gather::encode_ref, gather::encode},
};
// clang-format on

}  // namespace

std::span<const Scheme> block_schemes() { return kSchemes; }

const Scheme* find_block_scheme(std::string_view name) {
  for (const Scheme& scheme : kSchemes)
    if (scheme.name == name) return &scheme;
  return nullptr;
}

}  // namespace phiquant
