// The table of methods, and which kernel a pair of encoding and method has.
#include "quant/encoding.h"

namespace phiquant {
namespace {

constexpr Method kMethods[] = {
    {"peer", "what the runtime's own tool does"},
    {"search", "weighted least squares over candidate scales of each block"},
    {"k_quant", "llama.cpp's scale and minimum of a block, as ONNX Runtime has them"},
    {"rtn", "rounding to nearest, as ONNX Runtime's RTN quantizer"},
    {"importance", "the peer's, errors of columns weighted by an importance matrix"},
    {"hqq", "half-quadratic optimization of zero points"},
};

}  // namespace

std::span<const Method> methods() { return kMethods; }

const Method* find_method(std::string_view name) {
  for (const Method& m : kMethods)
    if (m.name == name) return &m;
  return nullptr;
}

const Method& peer_method() { return kMethods[0]; }

const Scheme* block_kernel(const Encoding& encoding, const Method& method, bool of_table) {
  std::optional<Packing> packing = encoding.packing;
  if (of_table && packing == Packing::k_major) packing = Packing::n_major;
  for (const Scheme& scheme : block_schemes())
    if (scheme.packing == packing && scheme.method == method.name) return &scheme;
  return nullptr;
}

std::optional<ParamChoices> offered(const Encoding& encoding, const Method& method) {
  ParamChoices choices = encoding.parts->choices;
  if (!encoding.packing) {
    choices.float_zero_points = false;
    const bool importance = encoding.rows && encoding.rows->uses_importance;
    if (&method == &peer_method() || (importance && method.name == "importance")) return choices;
    return std::nullopt;
  }
  const Scheme* kernel = block_kernel(encoding, method);
  if (!kernel) return std::nullopt;
  choices.bits &= kernel->bits_mask;
  choices.symmetric = choices.symmetric && kernel->symmetric;
  choices.asymmetric = choices.asymmetric && kernel->asymmetric;
  choices.float_zero_points = kernel->float_zero_points;
  return choices;
}

}  // namespace phiquant
