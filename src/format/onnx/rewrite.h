// The rewrites: each changes nodes of the graph for one form of quantization and adds the jobs that
// fill the new tensors. All queue their edits; the caller applies them.
#pragma once

#include <array>
#include <cassert>
#include <functional>
#include <map>
#include <string>
#include <tuple>

#include "decide/choice.h"
#include "format/onnx/weight.h"

namespace phiquant::format {

// The tensors that stand for one weight in one form.
struct QuantizedNames {
  std::string codes, scales, zero_points;  // zero_points empty: none
  uint32_t job = 0;
  uint64_t bytes = 0;
};

// Weights that were quantized before in this run, so that nodes that share a weight share its
// codes.
class QuantizedCache {
 public:
  // The scope counts for blocks behind DequantizeLinear only: ONNX Runtime fuses those with
  // constants of the same graph.
  using Key = std::tuple<const onnx::TensorProto*, const Scope*, Layout, std::string, unsigned,
                         uint32_t, bool, bool, DType>;
  static Key key(const Candidate& candidate, const Choice& choice);
  // The tensors of the candidate's weight; `make(WeightSource)` adds them at the first use.
  template <class Make>
  const QuantizedNames& once(Editor& editor, const Candidate& candidate, const Choice& choice,
                             Make make) {
    const Key at = key(candidate, choice);
    if (const auto it = made_.find(at); it != made_.end()) return it->second;
    // Weights that cannot be read along this axis must stay float (plan.cc).
    auto source = weight_source(editor, candidate.weight, candidate.nk);
    assert(source);
    return made_.emplace(at, make(std::move(*source))).first->second;
  }
  // Codes, scale and zero point of activations quantized at run time.
  std::map<std::pair<const Scope*, std::string>, std::array<std::string, 3>> activations;

 private:
  std::map<Key, QuantizedNames> made_;
};

// Adds the tensors of 8-bit codes with one scale and zero point a channel or tensor, named as
// onnxruntime names them (`<w>_quantized`, `<w>_scale`, `<w>_zero_point`), and the job that fills
// them. Codes keep the shape and orientation that the weight is stored in.
QuantizedNames add_int8(Editor& editor, const Candidate& candidate, const Choice& choice,
                        WeightSource source, bool is_signed);

// What a block job needs to know of a choice for a candidate's weight.
struct BlockForm {
  const Scheme* kernel;
  SchemeParams params;
  bool writes_zero_points() const { return !params.symmetric || kernel->float_zero_points; }
};
BlockForm block_form(const Candidate& candidate, const Choice& choice);

// The one below that makes what was chosen; `choice` is no float.
Result<QuantizedNames> rewrite_weight(Editor& editor, const Candidate& candidate,
                                      const Choice& choice, int accuracy_level,
                                      QuantizedCache& cache);

// All of these: Errors unsupported, where the model's opset cannot hold the form and cannot be
// raised. `accuracy_level`: of MatMulNBits; 0: unset.
Result<QuantizedNames> rewrite_nbits(Editor& editor, const Candidate& candidate,
                                     const Choice& choice, int accuracy_level,
                                     QuantizedCache& cache);
Result<QuantizedNames> rewrite_gather(Editor& editor, const Candidate& candidate,
                                      const Choice& choice, QuantizedCache& cache);
Result<QuantizedNames> rewrite_qdq(Editor& editor, const Candidate& candidate, const Choice& choice,
                                   QuantizedCache& cache);
Result<QuantizedNames> rewrite_dynamic(Editor& editor, const Candidate& candidate,
                                       const Choice& choice, QuantizedCache& cache);

// Replaces Gemm's alpha, beta and C behind a node that computes A * B: `product` is its output,
// `out` the Gemm's. The nodes are inserted after `node`, in `scope`.
void finish_gemm(Editor& editor, const Candidate& candidate, const onnx::NodeProto& gemm,
                 std::string product, const std::string& suffix);

// Weights of quantized nodes become floats again (MatMulNBits, GatherBlockQuantized,
// DequantizeLinear of constants, DynamicQuantizeLinear with MatMulInteger or ConvInteger, Mul of a
// Cast of int8 constants with scales). `wanted` chooses; what cannot be decoded is reported in the
// plan's warnings and left as it is.
struct QuantizedWeight {
  const onnx::NodeProto& node;    // that dequantizes: MatMulNBits, DequantizeLinear, ...
  const onnx::NodeProto* reader;  // that computes with the values: `node` itself or the first to
                                  // read them; may be null
  const WeightSource& source;
  const std::string& weight;  // name of the codes
  const BlockStorage& storage() const { return std::get<BlockStorage>(source.storage); }
};
using WantDequantized = std::function<bool(const QuantizedWeight& weight)>;
void rewrite_dequantize(Editor& editor, const WantDequantized& wanted);

// Casts of float constants are carried out: the constant takes the Cast's type, name and place.
void fold_constant_casts(Editor& editor);

// The whole graph to one float type: initializers, Constant nodes, value infos, Casts; see
// format/onnx/rewrite_float.cc.
Result<void> rewrite_float(Editor& editor, DType to);

}  // namespace phiquant::format
