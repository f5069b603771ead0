// Quantized nodes back to float ones over weights that are decoded while the output is written.
#include <map>

#include <fmt/format.h>

#include "format/onnx/decode.h"
#include "format/onnx/rewrite.h"

namespace phiquant::format {
namespace {

class Dequantizer {
 public:
  Dequantizer(Editor& editor, const WantDequantized& wanted) : editor_(editor), wanted_(wanted) {}

  void visit(Scope& scope, onnx::NodeProto& node) {
    if (is_microsoft_op(node, "MatMulNBits"))
      matmul_nbits(scope, node);
    else if (is_microsoft_op(node, "GatherBlockQuantized"))
      gather(scope, node);
    else if (is_op(node, "DequantizeLinear") || is_microsoft_op(node, "DequantizeLinear"))
      dequantize_linear(scope, node);
    else if (is_op(node, "Mul") && node.input_size() == 2)
      scaled_codes(scope, node);
    else if (is_op(node, "MatMulInteger") || is_op(node, "ConvInteger"))
      integer_product(scope, node);
    else if (node.op_type().starts_with("QLinear") ||
             is_microsoft_op(node, "DynamicQuantizeMatMul") ||
             is_microsoft_op(node, "MatMulIntegerToFloat") ||
             is_microsoft_op(node, "DynamicQuantizeLSTM") || is_microsoft_op(node, "QAttention") ||
             is_microsoft_op(node, "QMoE") || is_microsoft_op(node, "MatMulBnb4"))
      stays(node, "this operator is not decoded");
  }

 private:
  void stays(const onnx::NodeProto& node, const std::string& why) {
    editor_.warn(fmt::format("{} '{}' stays quantized: {}", node.op_type(),
                             node.name().empty() ? node.output(0) : node.name(), why));
  }

  bool wants(const onnx::NodeProto& node, const onnx::NodeProto* reader, const DecodedTensor& d) {
    return wanted_({node, reader, d.weight.source, d.codes->name()});
  }

  // The first node that reads a value for more than to pass it on.
  const onnx::NodeProto* reader_of(const Scope& scope, std::string name) {
    constexpr int kMaxChain = 8;
    for (int depth = 0; depth < kMaxChain; ++depth) {
      const auto& uses = GraphIndex::uses(scope, name);
      if (uses.empty()) return nullptr;
      const onnx::NodeProto& node = *uses[0].node;
      if (!is_op(node, "Cast") && !is_op(node, "Identity") && !is_op(node, "Transpose"))
        return &node;
      if (uses[0].scope != &scope) return nullptr;
      name = node.output(0);
    }
    return nullptr;
  }

  // The name of the float tensor for `d`, made at its first use: `freed`, or one like the codes'
  // where that is empty.
  std::string float_tensor(DecodedTensor d, const std::string& freed = "") {
    auto [it, added] = made_.try_emplace({d.codes, d.shape});
    if (!added) return it->second;
    it->second =
        freed.empty() ? editor_.value_name(without_quantized_suffix(d.codes->name())) : freed;
    onnx::TensorProto tensor = make_tensor(it->second, d.dtype, d.shape);
    d.weight.source.name = it->second;
    editor_.set_decoded(tensor, std::move(d.weight));
    editor_.add_constant(*d.scope, d.codes, std::move(tensor));
    return it->second;
  }

  // Changes a node's operator and inputs; what it read before may go.
  void become(Scope& scope, onnx::NodeProto& node, const char* op,
              const std::vector<std::string>& inputs) {
    for (const auto& old : node.input()) editor_.released(scope, old);
    node.set_op_type(op);
    node.clear_domain();
    node.clear_input();
    node.clear_attribute();
    for (const std::string& input : inputs) node.add_input(input);
    if (!node.name().empty())
      node.set_name(editor_.node_name(without_quantized_suffix(node.name())));
  }

  void matmul_nbits(Scope& scope, onnx::NodeProto& node) {
    std::string why;
    auto d = decode_matmul_nbits(editor_, scope, node, why);
    if (!d) return stays(node, why);
    if (!wants(node, &node, *d)) return;
    const std::string bias = node.input_size() > 5 ? node.input(5) : "", out = node.output(0);
    become(scope, node, "MatMul", {node.input(0), float_tensor(std::move(*d))});
    if (bias.empty()) return;
    node.set_output(0, editor_.value_name(out + "_matmul"));
    onnx::NodeProto& add = editor_.insert_after(scope, node);
    add.set_op_type("Add");
    add.set_name(editor_.node_name(node.name() + "_bias_add"));
    add.add_input(node.output(0));
    add.add_input(bias);
    add.add_output(out);
  }

  void gather(Scope& scope, onnx::NodeProto& node) {
    std::string why;
    auto d = decode_gather(editor_, scope, node, why);
    if (!d) return stays(node, why);
    if (!wants(node, &node, *d)) return;
    const int64_t axis = int_attribute(node, "gather_axis", 0);
    become(scope, node, "Gather", {float_tensor(std::move(*d)), node.input(1)});
    add_int_attribute(node, "axis", axis);
  }

  void dequantize_linear(Scope& scope, onnx::NodeProto& node) {
    const std::string zero = node.input_size() > 2 ? node.input(2) : "";
    std::string why;
    if (!find_constant(scope, node.input(0))) return gathered_codes(scope, node, zero);
    auto d =
        decode_linear(editor_, scope, node.input(0), node.input(1), zero,
                      int_attribute(node, "axis", 1), int_attribute(node, "block_size", 0), why);
    if (!d) return;  // still a float graph: biases in int32 and the like
    replace(scope, node, std::move(*d));
  }

  // Readers of a node that dequantizes a constant read the floats instead.
  void replace(Scope& scope, onnx::NodeProto& node, DecodedTensor d) {
    if (scope.outputs.count(node.output(0)) || !wants(node, reader_of(scope, node.output(0)), d))
      return;
    // Scaled codes are named at the exporter's will: the product has the weight's name.
    const std::string freed = is_op(node, "Mul") && d.scope == &scope ? node.output(0) : "";
    const std::string value = float_tensor(std::move(d), freed);
    for (const Use& use : GraphIndex::uses(scope, node.output(0)))
      use.node->set_input(use.input, value);
    editor_.remove(node);
    for (const auto& input : node.input()) editor_.released(scope, input);
  }

  // Mul of Cast(codes) and scales, which has no zero points: one scale, or one for each index of
  // the first or last axis.
  void scaled_codes(Scope& scope, onnx::NodeProto& node) {
    for (int i = 0; i < node.input_size(); ++i) {
      const auto cast = scope.producers.find(node.input(i));
      if (cast == scope.producers.end() || !is_op(*cast->second, "Cast")) continue;
      const std::string& scale_name = node.input(1 - i);
      const auto codes = find_constant(scope, cast->second->input(0)),
                 scales = find_constant(scope, scale_name);
      if (!codes || !scales || codes->tensor->dims_size() < 2 ||
          scales->tensor->dims_size() > codes->tensor->dims_size())
        return;
      const auto dtype = dtype_from_onnx(codes->tensor->data_type());
      if ((dtype != DType::i8 && dtype != DType::u8) ||
          int_attribute(*cast->second, "to", 0) != scales->tensor->data_type())
        return;
      const int rank = codes->tensor->dims_size(), shift = rank - scales->tensor->dims_size();
      int axis = -1, spread = 0;
      for (int d = 0; d < scales->tensor->dims_size(); ++d) {
        if (scales->tensor->dims(d) == 1) continue;
        if (scales->tensor->dims(d) != codes->tensor->dims(d + shift)) return;
        axis = d + shift;
        ++spread;
      }
      std::string why;
      if (spread > 1) return;
      auto d = decode_linear(editor_, scope, cast->second->input(0), scale_name, "", axis, 0, why);
      if (!d) return;
      auto& storage = std::get<BlockStorage>(d->weight.source.storage);
      storage.default_zero_point = 0;
      return replace(scope, node, std::move(*d));
    }
  }

  // Gather of int8 codes and DequantizeLinear of what it found (quantize_dynamic's embeddings).
  void gathered_codes(Scope& scope, onnx::NodeProto& node, const std::string& zero) {
    const auto producer = scope.producers.find(node.input(0));
    if (producer == scope.producers.end() || !is_op(*producer->second, "Gather")) return;
    onnx::NodeProto& found = *producer->second;
    std::string why;
    auto d = decode_linear(editor_, scope, found.input(0), node.input(1), zero, 0, 0, why);
    if (!d || std::get<BlockStorage>(d->weight.source.storage).column_group != d->weight.source.n)
      return;
    if (!wants(found, &found, *d) || GraphIndex::uses(scope, found.output(0)).size() != 1) return;
    editor_.released(scope, found.input(0));
    for (int i = 1; i < node.input_size(); ++i) editor_.released(scope, node.input(i));
    found.set_input(0, float_tensor(std::move(*d)));
    found.set_output(0, node.output(0));
    editor_.remove(node);
  }

  // The only reader of a value, if it is in the same scope and nothing returns the value.
  onnx::NodeProto* only_reader(Scope& scope, const std::string& name) {
    const auto& uses = GraphIndex::uses(scope, name);
    return uses.size() == 1 && uses[0].scope == &scope && !scope.outputs.count(name) ? uses[0].node
                                                                                     : nullptr;
  }

  // Product of integers, Cast, and Mul with the product of both scales: a float product again.
  void integer_product(Scope& scope, onnx::NodeProto& node) {
    const bool conv = node.op_type() == "ConvInteger";
    const auto quantizer = scope.producers.find(node.input(0));
    onnx::NodeProto* cast = only_reader(scope, node.output(0));
    onnx::NodeProto* mul =
        cast && is_op(*cast, "Cast") ? only_reader(scope, cast->output(0)) : nullptr;
    if (quantizer == scope.producers.end() || !is_op(*quantizer->second, "DynamicQuantizeLinear") ||
        !mul || !is_op(*mul, "Mul"))
      return stays(node, "not the nodes that quantize_dynamic makes");
    const std::string scales_name =
        mul->input(0) == cast->output(0) ? mul->input(1) : mul->input(0);
    const auto scales = scope.producers.find(scales_name);
    const std::string& a_scale = quantizer->second->output(1);
    if (scales == scope.producers.end() || !is_op(*scales->second, "Mul") ||
        (scales->second->input(0) != a_scale && scales->second->input(1) != a_scale))
      return stays(node, "its scales are not multiplied as quantize_dynamic does");
    const std::string w_scale =
        scales->second->input(0) == a_scale ? scales->second->input(1) : scales->second->input(0);
    std::string codes = node.input(1), why;
    const auto turn = scope.producers.find(codes);
    const bool turned = turn != scope.producers.end() && is_op(*turn->second, "Transpose");
    if (turned) codes = turn->second->input(0);
    auto d =
        decode_linear(editor_, scope, codes, w_scale, node.input_size() > 3 ? node.input(3) : "",
                      conv || turned ? 0 : -1, 0, why);
    if (!d || (turned && d->shape.size() != 2)) return stays(node, why);
    if (!wants(node, &node, *d)) return;
    if (turned) {
      std::swap(d->shape[0], d->shape[1]);
      d->weight.orientation =
          d->weight.orientation == Orientation::nk ? Orientation::kn : Orientation::nk;
    }
    const auto attributes = node.attribute();
    std::string name = node.name();
    if (name.size() > 6 && name.ends_with("_quant")) name.resize(name.size() - 6);
    become(scope, *mul, conv ? "Conv" : "MatMul",
           {quantizer->second->input(0), float_tensor(std::move(*d))});
    mul->set_name(editor_.node_name(name));
    if (conv) *mul->mutable_attribute() = attributes;
  }

  Editor& editor_;
  const WantDequantized& wanted_;
  std::map<std::pair<const onnx::TensorProto*, Shape>, std::string> made_;
};

}  // namespace

void rewrite_dequantize(Editor& editor, const WantDequantized& wanted) {
  Dequantizer dequantizer(editor, wanted);
  for (const auto& scope : editor.index->scopes())
    for (auto& node : scope->nodes()) dequantizer.visit(*scope, node);
  editor.apply();
}

void fold_constant_casts(Editor& editor) {
  for (const auto& scope : editor.index->scopes()) {
    for (auto& node : scope->nodes()) {
      if (!is_op(node, "Cast") || scope->outputs.count(node.output(0))) continue;
      const auto constant = find_constant(*scope, node.input(0));
      const DType to = dtype_from_onnx(static_cast<int32_t>(int_attribute(node, "to", 0)));
      if (!constant || !is_weight_float(to) ||
          !is_weight_float(dtype_from_onnx(constant->tensor->data_type())))
        continue;
      onnx::TensorProto tensor = make_tensor(node.output(0), to, shape_of(*constant->tensor));
      if (const DecodedWeight* decoded = editor.decoded(*constant->tensor))
        editor.set_decoded(tensor, *decoded);
      else
        editor.set_source(tensor, editor.source(*constant->tensor));
      editor.add_constant(*scope, constant->tensor, std::move(tensor));
      editor.remove(node);
      editor.released(*scope, node.input(0));
    }
  }
  editor.apply();
}

}  // namespace phiquant::format
