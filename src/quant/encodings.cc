#include <algorithm>
#include <vector>

#include "quant/encoding.h"

namespace phiquant {
namespace {

constexpr Encoding kOnnx[] = {
    {"MatMulNBits", Layout::nbits},
    {"GatherBlockQuantized", Layout::gather},
    {"DequantizeLinear in blocks", Layout::qdq_blocks},
    {"DequantizeLinear", Layout::qdq_int8},
    {"DynamicQuantizeLinear", Layout::dynamic},
};

constexpr Method kMethods[] = {
    {"peer", "what the runtime's own tool does"},
    {"search", "weighted least squares over candidate scales of each block"},
    {"k_quant", "llama.cpp's scale and minimum of a block, as ONNX Runtime has them"},
    {"rtn", "rounding to nearest, as ONNX Runtime's RTN quantizer"},
    {"importance", "the peer's, errors of columns weighted by an importance matrix"},
    {"hqq", "half-quadratic optimization of zero points"},
};

std::vector<Encoding> all_encodings() {
  std::vector<Encoding> all(std::begin(kOnnx), std::end(kOnnx));
  for (const RowScheme& rows : row_schemes())
    all.push_back({rows.name, rows.family == RowFamily::gguf ? Layout::gguf : Layout::mlx, &rows});
  return all;
}

Packing packing_of(Layout layout, bool of_table) {
  if (layout == Layout::nbits) return Packing::nbits;
  return layout == Layout::gather || of_table ? Packing::n_major : Packing::k_major;
}

}  // namespace

std::span<const Encoding> encodings() {
  static const std::vector<Encoding> all = all_encodings();
  return all;
}

const Encoding& onnx_encoding(Layout layout) {
  return *std::find_if(std::begin(kOnnx), std::end(kOnnx),
                       [&](const Encoding& e) { return e.layout == layout; });
}

const Encoding* find_encoding(Layout layout, std::string_view name) {
  for (const Encoding& e : encodings())
    if (e.layout == layout && e.name == name) return &e;
  return nullptr;
}

std::span<const Method> methods() { return kMethods; }

const Method* find_method(std::string_view name) {
  for (const Method& m : kMethods)
    if (m.name == name) return &m;
  return nullptr;
}

const Method& peer_method() { return kMethods[0]; }

const Scheme* block_kernel(const Encoding& encoding, const Method& method, bool of_table) {
  for (const Scheme& scheme : block_schemes())
    if (scheme.packing == packing_of(encoding.layout, of_table) && scheme.method == method.name)
      return &scheme;
  return nullptr;
}

}  // namespace phiquant
