// The whole graph to float16, bfloat16 or float32. Behaviour of onnxruntime's
// convert_float_to_float16 (transformers/ float16.py): same block list, names of Casts at inputs
// and outputs, dtype attributes; constants read only by float32 nodes stay float32. Differences,
// all in favour of float32: a float32 node reads a float32 graph input or another float32 node's
// output directly instead of through two Casts; Casts stand in the scope and place where they are
// needed; nodes whose schema does not know the type are treated like blocked ones.
#include <fmt/format.h>

#include "format/onnx/float_rules.h"
#include "format/onnx/rewrite.h"

namespace phiquant::format {
namespace {

// Operators with a dtype attribute whose default is float32.
constexpr const char* kDefaultFloat[] = {"RandomNormal", "RandomUniform", "SequenceEmpty"};

class FloatRewrite {
 public:
  FloatRewrite(Editor& editor, DType to)
      : editor_(editor),
        to_(to),
        target_(onnx_from_dtype(to)),
        rules_(editor, to),
        types_(editor.model.proto, *editor.index) {}

  void run() {
    for (const auto& scope : editor_.index->scopes()) {
      if (inside_blocked(*scope)) continue;
      constants(*scope);
      for (auto& node : scope->nodes())
        if (!rules_.blocked(*scope, node)) attributes(*scope, node);
    }
    for (const auto& scope : editor_.index->scopes()) {
      if (inside_blocked(*scope)) continue;
      values(*scope);
    }
    for (const auto& scope : editor_.index->scopes())
      if (!inside_blocked(*scope)) declarations(*scope);
    editor_.apply();
  }

 private:
  bool narrows(int32_t type) const {
    if (type == target_) return false;
    return type == onnx::TensorProto::FLOAT || type == onnx::TensorProto::FLOAT16 ||
           type == onnx::TensorProto::BFLOAT16;
  }
  bool inside_blocked(const Scope& scope) const {
    return scope.owner && scope.parent && rules_.blocked(*scope.parent, *scope.owner);
  }
  bool is_main(const Scope& scope) const { return &scope == &editor_.index->main(); }
  bool keeps_io() const {
    return to_ != DType::f32 && editor_.options.output.onnx.keep_io_types.value_or(true);
  }

  // Whether an input of the main graph comes from the caller; old models list initializers as
  // inputs too.
  bool is_kept_input(const Scope& scope, const std::string& name) const {
    return is_main(scope) && keeps_io() && scope.inputs.count(name) && !scope.constants.count(name);
  }
  bool is_kept_output(const Scope& scope, const std::string& name) const {
    return is_main(scope) && keeps_io() && returned(scope, name);
  }
  static bool returned(const Scope& scope, const std::string& name) {
    if (!scope.graph) return scope.outputs.count(name) != 0;
    for (const auto& output : scope.graph->output())
      if (output.name() == name) return true;
    return false;
  }

  // ---- Constants ----
  void constants(Scope& scope) {
    for (auto& [name, tensor] : scope.constants)
      if (narrows(tensor->data_type())) constant(scope, name, *tensor);
  }

  void constant(Scope& scope, const std::string& name, onnx::TensorProto& tensor) {
    PlanRow row;
    const Shape shape = shape_of(tensor);
    row.tensor = tensor.name().empty() ? name : tensor.name();
    row.role = "other";
    row.from = editor_.decoded(tensor) ? dtype_from_onnx(tensor.data_type())
                                       : editor_.source(tensor).dtype;
    row.shape = shape;
    row.bytes_before = tensor_bytes(row.from, shape).value_or(0);
    const onnx::NodeProto* wide = nullptr;
    bool narrow = scope.outputs.count(name) != 0 && !is_kept_output(scope, name);
    for (const Use& use : GraphIndex::uses(scope, name)) {
      row.node = use.node->name();
      if (rules_.input_stays(*use.scope, *use.node, use.input))
        wide = use.node;
      else
        narrow = true;
    }
    if (wide && !narrow) {
      row.action = "keep";
      row.bytes_after = row.bytes_before;
      row.reason = fmt::format("read only by {}, which stays float32", wide->op_type());
      stays_.insert({&scope, name});
    } else {
      row.action = editor_.decoded(tensor) ? "dequantize" : "cast";
      row.bits = dtype_bits(to_);
      if (tensor.name().empty()) tensor.set_name(name);
      editor_.retype(tensor, to_);
      row.bytes_after = tensor_bytes(to_, shape).value_or(0);
    }
    editor_.plan.rows.push_back(std::move(row));
  }

  // ---- Attributes ----
  void attributes(Scope& scope, onnx::NodeProto& node) {
    if (constant_tensor(node)) return;  // done with the constants
    if (is_op(node, "Constant")) return constant_node(scope, node);
    retype_int(node, "to");  // Cast
    retype_int(node, "dtype");
    retype_int(node, "output_datatype");
    for (const char* op : kDefaultFloat)
      if (is_op(node, op) && !find_attribute(node, "dtype") && to_ != DType::f32)
        add_int_attribute(node, "dtype", target_);
    if (is_op(node, "ConstantOfShape") && !find_attribute(node, "value") && to_ != DType::f32) {
      auto* a = node.add_attribute();
      a->set_name("value");
      a->set_type(onnx::AttributeProto::TENSOR);
      *a->mutable_t() = make_tensor("value", to_, {1});
      a->mutable_t()->set_raw_data(std::string(2, '\0'));
    }
    for (auto& a : *node.mutable_attribute()) {
      if (a.has_t() && narrows(a.t().data_type())) editor_.retype(*a.mutable_t(), to_);
      for (auto& t : *a.mutable_tensors())
        if (narrows(t.data_type())) editor_.retype(t, to_);
    }
  }

  void retype_int(onnx::NodeProto& node, const char* name) {
    if (auto* a = find_attribute(node, name);
        a && a->type() == onnx::AttributeProto::INT && narrows(static_cast<int32_t>(a->i())))
      a->set_i(target_);
  }

  // value_float and value_floats have no 16-bit form: they become tensors.
  void constant_node(Scope& scope, onnx::NodeProto& node) {
    if (to_ == DType::f32) return;
    for (auto& a : *node.mutable_attribute()) {
      const bool one = a.name() == "value_float", many = a.name() == "value_floats";
      if (!one && !many) continue;
      std::string bytes;
      for (int i = 0; i < (one ? 1 : a.floats_size()); ++i) {
        const float v = one ? a.f() : a.floats(i);
        bytes.append(reinterpret_cast<const char*>(&v), sizeof v);
      }
      onnx::TensorProto tensor =
          make_tensor(node.output(0), DType::f32,
                      one ? Shape{} : Shape{static_cast<uint64_t>(a.floats_size())});
      tensor.set_raw_data(bytes);
      a.Clear();
      a.set_name("value");
      a.set_type(onnx::AttributeProto::TENSOR);
      *a.mutable_t() = std::move(tensor);
      constant(scope, node.output(0), *a.mutable_t());
    }
  }

  // ---- Values ----
  // Every value has the type its producer gives it; readers that want the other one read a Cast of
  // it.
  void values(Scope& scope) {
    if (scope.graph)
      for (const auto& input : scope.graph->input())
        if (!scope.constants.count(input.name()))
          value(scope, nullptr, input.name(), is_kept_input(scope, input.name()));
    for (auto& [name, tensor] : scope.constants)
      if (!scope.producers.count(name))
        value(scope, nullptr, name, stays_.count({&scope, name}) != 0);
    for (auto& node : scope.nodes())
      for (int i = 0; i < node.output_size(); ++i) {
        const std::string name = node.output(i);
        const bool wide = is_op(node, "Constant") ? stays_.count({&scope, name}) != 0
                                                  : rules_.output_stays(scope, node, i);
        if (!name.empty()) value(scope, &node, name, wide);
      }
  }

  void value(Scope& scope, onnx::NodeProto* producer, const std::string& name, bool wide) {
    // Constants were retyped already; the index's types are those of the input.
    if (!narrows(types_.of(scope, name))) return;
    if (wide) wide_.insert({&scope, name});
    const bool kept_output = is_kept_output(scope, name);
    std::string wide_name = wide ? name : "", narrow_name = wide ? "" : name;
    if (kept_output && !wide) {
      // The graph's output keeps its name and type; the narrow value behind it gets a new name.
      int at = 0;
      while (scope.graph->output(at).name() != name) ++at;
      narrow_name = editor_.value_name(fmt::format("graph_output_cast_{}", at));
      wide_name = name;
      if (!producer) {
        wide_name = narrow_name;  // an input or constant returned as it is: nothing to rename
        narrow_name = name;
      } else {
        for (auto& output : *producer->mutable_output())
          if (output == name) output = narrow_name;
        add_cast(scope, producer, fmt::format("graph_output_cast{}", at), narrow_name, name,
                 DType::f32);
      }
    }
    connect(scope, producer, name, wide_name, narrow_name);
    if (returned(scope, name) && !kept_output && wide) return_narrow(scope, producer, name);
  }

  // Points each reader of `name` to the version it wants, making the missing one at the first such
  // reader.
  void connect(Scope& scope, onnx::NodeProto* producer, const std::string& name,
               std::string& wide_name, std::string& narrow_name) {
    for (const Use& use : GraphIndex::uses(scope, name)) {
      const bool wants_wide =
          inside_blocked(*use.scope) || rules_.input_stays(*use.scope, *use.node, use.input);
      std::string& wanted = wants_wide ? wide_name : narrow_name;
      if (wanted.empty()) {
        const std::string base = input_cast_name(scope, name, wants_wide);
        wanted = editor_.value_name(base);
        const std::string node_name =
            base == name + (wants_wide ? "_cast_to_fp32" : "_cast_to_fp16") ? base + "_node"
                                                                            : cast_node_name(base);
        add_cast(scope, producer, node_name, name, wanted, wants_wide ? DType::f32 : to_);
      }
      use.node->set_input(use.input, wanted);
    }
  }

  std::string input_cast_name(const Scope& scope, const std::string& name, bool wants_wide) const {
    if (is_kept_input(scope, name) && !wants_wide)
      for (int i = 0; i < scope.graph->input_size(); ++i)
        if (scope.graph->input(i).name() == name) return fmt::format("graph_input_cast_{}", i);
    return name + (wants_wide ? "_cast_to_fp32" : "_cast_to_fp16");
  }
  static std::string cast_node_name(const std::string& base) {
    const size_t at = base.rfind('_');
    return base.substr(0, at) + base.substr(at + 1);  // graph_input_cast_0 -> graph_input_cast0
  }

  // A body's or function's output is of the narrow type even where its producer stays float32.
  void return_narrow(Scope& scope, onnx::NodeProto* producer, const std::string& name) {
    if (!producer) return;
    const std::string inner = editor_.value_name(name + "_cast_to_fp16");
    for (auto& output : *producer->mutable_output())
      if (output == name) output = inner;
    for (const Use& use : GraphIndex::uses(scope, name))
      if (use.node->input(use.input) == name) use.node->set_input(use.input, inner);
    add_cast(scope, producer, inner + "_node", inner, name, to_);
    wide_.erase({&scope, name});
  }

  void add_cast(Scope& scope, onnx::NodeProto* producer, const std::string& node_name,
                const std::string& from, const std::string& output, DType to) {
    onnx::NodeProto& node =
        producer ? editor_.insert_after(scope, *producer) : editor_.append_front(scope);
    node.set_op_type("Cast");
    node.set_name(editor_.node_name(node_name));
    node.add_input(from);
    node.add_output(output);
    add_int_attribute(node, "to", onnx_from_dtype(to));
  }

  // ---- Declared types ----
  void declarations(Scope& scope) {
    if (scope.graph) {
      for (auto& info : *scope.graph->mutable_input())
        if (!is_kept_input(scope, info.name())) declare(scope, info);
      for (auto& info : *scope.graph->mutable_output())
        if (!is_kept_output(scope, info.name())) declare(scope, info);
      for (auto& info : *scope.graph->mutable_value_info()) declare(scope, info);
    } else {
      for (auto& info : *scope.function->mutable_value_info()) declare(scope, info);
    }
  }

  void declare(const Scope& scope, onnx::ValueInfoProto& info) {
    if (!wide_.count({&scope, info.name()}) && !stays_.count({&scope, info.name()}))
      retype(*info.mutable_type());
  }
  void retype(onnx::TypeProto& type) {
    if (type.has_tensor_type() && narrows(type.tensor_type().elem_type()))
      type.mutable_tensor_type()->set_elem_type(target_);
    if (type.has_sequence_type()) retype(*type.mutable_sequence_type()->mutable_elem_type());
    if (type.has_optional_type()) retype(*type.mutable_optional_type()->mutable_elem_type());
  }

  Editor& editor_;
  DType to_;
  int32_t target_;
  FloatRules rules_;
  Types types_;
  std::set<std::pair<const Scope*, std::string>> wide_,
      stays_;  // values, constants that stay float32
};

}  // namespace

Result<void> rewrite_float(Editor& editor, DType to) {
  if (to == DType::bf16)
    PHIQUANT_TRY(editor.require_opset(13, 4, "--precision bf16 (or try --precision fp16)"));
  FloatRewrite(editor, to).run();
  return {};
}

}  // namespace phiquant::format
