#include "format/decoder/share_codes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace phiquant::format {
namespace {

// A Constant node in front of `before`, named by its value as GraphWriter names them.
std::string add_shape(Editor& editor, const onnx::NodeProto& before,
                      const std::vector<int64_t>& values) {
  const std::string text = fmt::format("INT64/[{}]", fmt::join(values, ", "));
  onnx::NodeProto& node = editor.insert_before(editor.index->main(), before);
  node.set_op_type("Constant");
  node.set_name(editor.node_name("/model/constant_nodes/" + text));
  node.add_output(editor.value_name("/model/constants/" + text));
  auto* a = node.add_attribute();
  a->set_name("value");
  a->set_type(onnx::AttributeProto::TENSOR);
  *a->mutable_t() = make_tensor(node.output(0), DType::i64, {values.size()});
  a->mutable_t()->set_raw_data(
      std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t)));
  return node.output(0);
}

void rename_value(Editor& editor, const std::string& from, const std::string& to) {
  for (const auto& use : std::vector<Use>(GraphIndex::uses(editor.index->main(), from)))
    use.node->set_input(use.input, to);
}

}  // namespace

// The embedding reads the codes of the lm_head: [vocab, hidden * bits / 8] bytes, a row per token.
void share_codes(Editor& editor, onnx::NodeProto& gather, onnx::NodeProto& transpose,
                 const QuantizedNames& head, const Decoder& decoder, const Choice& choice) {
  Scope& main = editor.index->main();
  const int64_t bits = choice.params.bits, block = choice.params.block_size;
  const int64_t hidden = decoder.hidden, padded = (hidden + block - 1) / block * block;
  const std::string path = "/model/embed_tokens", rows = path + "/GatherBlockQuantized/output_0";
  const std::string result = padded == hidden ? rows : path + "/Slice/output_0";
  const std::string shape =
      add_shape(editor, gather, {static_cast<int64_t>(decoder.vocab), padded * bits / 8});

  onnx::NodeProto& reshape = editor.insert_before(main, gather);
  reshape.set_op_type("Reshape");
  reshape.set_name(path + "/Reshape");
  reshape.add_input(head.codes);
  reshape.add_input(shape);
  reshape.add_output(path + "/Reshape/output_0");

  rename_value(editor, gather.output(0), result);
  gather.set_op_type("GatherBlockQuantized");
  gather.set_domain("com.microsoft");
  gather.set_name(path + "/GatherBlockQuantized");
  gather.clear_input();
  for (const std::string& input : {reshape.output(0), std::string("input_ids"), head.scales})
    gather.add_input(input);
  if (!head.zero_points.empty()) gather.add_input(head.zero_points);
  gather.set_output(0, rows);
  add_int_attribute(gather, "bits", bits);
  add_int_attribute(gather, "block_size", block);
  add_int_attribute(gather, "gather_axis", 0);
  add_int_attribute(gather, "quantize_axis", 1);
  if (padded != hidden) {
    std::vector<std::string> inputs = {rows};
    for (const int64_t v : {int64_t{0}, hidden, int64_t{-1}})
      inputs.push_back(add_shape(editor, gather, {v}));
    onnx::NodeProto& slice = editor.insert_after(main, gather);
    slice.set_op_type("Slice");
    slice.set_name(path + "/Slice");
    for (const std::string& input : inputs) slice.add_input(input);
    slice.add_output(result);
  }
  const std::string table = transpose.input(0);
  editor.remove(transpose);
  transpose.clear_input();
  editor.released(main, table);
}

}  // namespace phiquant::format
