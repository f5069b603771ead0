#include "format/decoder/graph_writer.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/half.h"
#include "core/sources.h"
#include "format/decoder/share_codes.h"
#include "format/draft.h"
#include "format/onnx/provenance.h"
#include "format/onnx/rewrite.h"
#include "quant/numeric/cast_source.h"

namespace phiquant::format {

GraphWriter::GraphWriter(Editor& editor, const Checkpoint& c, const TargetInfo& t, DType io_dtype,
                         const GraphWeights& weights, const std::vector<Choice>& choices)
    : checkpoint(c),
      decoder(c.decoder),
      target(t),
      io(io_dtype),
      editor_(editor),
      weights_(weights),
      choices_(choices),
      stored_(choices.size()) {}

// ---- Nodes
// ---------------------------------------------------------------------------------------------

onnx::NodeProto& GraphWriter::node(const char* op, const std::string& name,
                                   const std::vector<std::string>& inputs,
                                   const std::vector<std::string>& outputs, const char* domain) {
  onnx::NodeProto& n = *graph().add_node();
  n.set_op_type(op);
  n.set_name(name);
  if (*domain) n.set_domain(domain);
  for (const std::string& i : inputs) n.add_input(i);
  for (const std::string& o : outputs) n.add_output(o);
  return n;
}

std::string GraphWriter::add(const char* op, const std::string& name,
                             const std::vector<std::string>& inputs, const char* domain) {
  std::string out = name + "/output_0";
  node(op, name, inputs, {out}, domain);
  return out;
}

std::string GraphWriter::cast(const std::string& name, const std::string& from, DType to) {
  std::string out = add("Cast", name, {from});
  add_int_attribute(*graph().mutable_node(graph().node_size() - 1), "to", onnx_from_dtype(to));
  return out;
}

// ---- Constants
// -----------------------------------------------------------------------------------------

std::string GraphWriter::constant(const std::string& text, const onnx::TensorProto& tensor) {
  const auto [at, is_new] = constants_.emplace(text, "/model/constants/" + text);
  if (!is_new) return at->second;
  onnx::NodeProto& n = node("Constant", "/model/constant_nodes/" + text, {}, {at->second});
  auto* a = n.add_attribute();
  a->set_name("value");
  a->set_type(onnx::AttributeProto::TENSOR);
  *a->mutable_t() = tensor;
  a->mutable_t()->set_name(at->second);
  return at->second;
}

std::string GraphWriter::int64(int64_t value) {
  onnx::TensorProto tensor = make_tensor("", DType::i64, {});
  tensor.set_raw_data(std::string(reinterpret_cast<const char*>(&value), sizeof value));
  return constant(fmt::format("INT64/{}", value), tensor);
}

std::string GraphWriter::int64s(const std::vector<int64_t>& values) {
  onnx::TensorProto tensor = make_tensor("", DType::i64, {values.size()});
  tensor.set_raw_data(
      std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t)));
  return constant(fmt::format("INT64/[{}]", fmt::join(values, ", ")), tensor);
}

std::string GraphWriter::scalar(DType dtype, float value) {
  onnx::TensorProto tensor = make_tensor("", dtype, {});
  std::string raw(dtype_bits(dtype) / 8, '\0');
  const uint16_t half = dtype == DType::bf16 ? bf16_from_f32(value) : f16_from_f32(value);
  if (dtype == DType::f32)
    std::memcpy(raw.data(), &value, sizeof value);
  else
    std::memcpy(raw.data(), &half, sizeof half);
  tensor.set_raw_data(raw);
  const char* type = dtype == DType::f32 ? "FLOAT" : dtype == DType::f16 ? "FLOAT16" : "BFLOAT16";
  return constant(fmt::format("{}/{}", type, value), tensor);
}

// ---- Weights
// -------------------------------------------------------------------------------------------

bool GraphWriter::has(Role role, int32_t layer, bool bias) const {
  return checkpoint.find(role, layer, bias) != nullptr;
}

std::string GraphWriter::vector(const WeightKey& key, const std::string& name) {
  const SourceTensor* tensor = checkpoint.find(key.role, key.layer, key.bias);
  if (!tensor) {
    if (error_)
      error_ =
          Error{Errc::unsupported, fmt::format("{}: layer {} has no {} {}, which its block needs",
                                               checkpoint.folder.string(), key.layer,
                                               role_name(key.role), key.bias ? "bias" : "weight")};
    return name;
  }
  initializer(name, *tensor);
  vectors_.back().key = key;
  vectors_.back().kind = SlotKind::vector;
  return name;
}

std::string GraphWriter::initializer(const std::string& name, SourceTensor tensor) {
  onnx::TensorProto& proto = *graph().add_initializer();
  proto = make_tensor(name, io, tensor.shape);
  tensor.name = name;
  Slot slot;
  slot.tensor = name;
  slot.shape = tensor.shape;
  slot.dtype = tensor.dtype;
  slot.bytes = tensor.bytes->size_bytes();
  vectors_.push_back(std::move(slot));
  // A table may be quantized. Vectors are cast by their job, which counts what overflows.
  if (quantized && io != DType::f32 && tensor.shape.size() > 1) tensor = cast_source(tensor, io);
  editor_.set_source(proto, std::move(tensor));
  return name;
}

std::string GraphWriter::table(const std::string& name, SourceTensor tensor) {
  onnx::TensorProto& proto = *graph().add_initializer();
  proto = make_tensor(name, tensor.dtype, tensor.shape);
  tensor.name = name;
  editor_.set_source(proto, std::move(tensor));
  return name;
}

std::string GraphWriter::produced(const std::string& name, TensorId out) {
  const OutTensor& tensor = editor_.plan.tensors[out];
  onnx::TensorProto& proto = *graph().add_initializer();
  proto = make_tensor(name, tensor.dtype, tensor.shape);
  editor_.model.payloads.push_back({{}, out});
  set_payload_index(proto, static_cast<uint32_t>(editor_.model.payloads.size() - 1));
  return name;
}

std::string GraphWriter::matrix(const std::string& name, const SourceTensor& rows, DType dtype) {
  const uint64_t n = rows.shape[0], k = rows.shape[1];
  onnx::TensorProto& proto = *graph().add_initializer();
  proto = make_tensor(name, dtype, {k, n});
  SourceTensor data = quantized && dtype != DType::f32 ? cast_source(rows, dtype) : rows;
  editor_.set_decoded(
      proto,
      {WeightSource{name, k, n, DenseStorage{std::move(data), Orientation::nk}}, Orientation::kn});
  return name;
}

std::string GraphWriter::linear(const WeightKey& key, const std::string& from,
                                const std::string& to) {
  const size_t index = weights_.index(key);
  const GraphWeight& w = weights_.all()[index];
  const std::string weight_name = matrix(w.slot.tensor, w.rows, w.slot.seen_dtype());
  const std::string sum = w.path + "/Add";
  std::string out = !w.bias && !to.empty() ? to : w.slot.node + "/output_0";
  node("MatMul", w.slot.node, {from, weight_name}, {out});
  readers_.push_back({index, graph().node_size() - 1, 1, false});
  if (!w.bias) return out;
  const std::string bias_name = initializer(dotted(w.path) + ".Add.bias", *w.bias);
  const std::string in = out;
  out = to.empty() ? sum + "/output_0" : to;
  node("Add", sum, {in, bias_name}, {out});
  return out;
}

std::string GraphWriter::embedding(const std::string& ids) {
  const size_t index = weights_.index({Role::embed});
  const GraphWeight& w = weights_.all()[index];
  const Choice& choice = choices_[index];
  const Choice& head = choices_[weights_.index({Role::lm_head})];
  // A table of its own with as many bits as the lm_head is made of that one's weight too.
  const bool reads_head = choice.shares_head || (w.slot.is_tied && !choice.is_float() &&
                                                 choice.params.bits == head.params.bits);
  std::string rows;
  if (reads_head) {
    // The lm_head's [hidden, vocab] weight is the table turned over.
    rows = w.path + "/Transpose/output_0";
    set_ints(
        node("Transpose", w.path + "/Transpose", {weight({Role::lm_head}).slot.tensor}, {rows}),
        "perm", {1, 0});
  } else {
    onnx::TensorProto& proto = *graph().add_initializer();
    proto = make_tensor(w.slot.tensor, io, w.rows.shape);
    SourceTensor table = w.rows;
    table.name = w.slot.tensor;
    if (quantized && io != DType::f32) table = cast_source(table, io);
    editor_.set_source(proto, std::move(table));
    rows = w.slot.tensor;
  }
  const std::string out = add("Gather", w.slot.node, {rows, ids});
  readers_.push_back({index, graph().node_size() - 1, 0, true});
  return out;
}

void GraphWriter::stored(const WeightKey& key, uint32_t job, uint64_t bytes) {
  stored_[weights_.index(key)] = {job, bytes};
}

// ---- The end
// ----------------------------------------------------------------------------------------------

Result<void> GraphWriter::finish(const IntegerSettings* settings) {
  PHIQUANT_TRY(error());
  editor_.reindex();
  if (settings) PHIQUANT_TRY(quantize(*settings));
  add_rows(!settings);
  const auto was_stored = [](const Stored& stored) { return stored.job.has_value(); };
  if (settings && std::none_of(stored_.begin(), stored_.end(), was_stored))
    return nothing_to_quantize(checkpoint.folder, editor_.plan.rows);
  if (settings)
    add_provenance(editor_, settings->name, settings->in_blocks() ? settings->block_size : 0,
                   settings->symmetric);
  else
    add_provenance(editor_, "", 0, std::nullopt);
  return {};
}

// One place knows what a node of a quantized weight looks like: the rewrites of onnx/, which here
// get the node and the weight that belong together.
Result<void> GraphWriter::quantize(const IntegerSettings& settings) {
  Scope& main = editor_.index->main();
  QuantizedCache cache;
  std::optional<QuantizedNames> head;
  for (const Reader& reader : readers_) {
    const GraphWeight& w = weights_.all()[reader.weight];
    const Choice& choice = choices_[reader.weight];
    if (choice.is_float() || choice.shares_head) continue;
    onnx::NodeProto& node = *graph().mutable_node(reader.node);
    Candidate c{&main,     &node, reader.input, *find_weight(main, node.input(reader.input)),
                reader.nk, w.slot};
    PHIQUANT_ASSIGN(const QuantizedNames names,
                    rewrite_weight(editor_, c, choice, settings.accuracy_level, cache));
    stored_[reader.weight] = {names.job, names.bytes};
    if (w.slot.is(Role::lm_head) && choice.encoding->layout == Layout::nbits) head = names;
  }
  const size_t embed = weights_.index({Role::embed});
  if (head && choices_[embed].shares_head) {
    const int gather = std::find_if(readers_.begin(), readers_.end(), [&](const Reader& r) {
                         return r.weight == embed;
                       })->node;
    share_codes(editor_, *graph().mutable_node(gather), *graph().mutable_node(gather - 1), *head,
                decoder, choices_[embed]);
  }
  editor_.apply();
  return {};
}

void GraphWriter::add_rows(bool vectors) {
  const auto float_row = [&](PlanRow& row, const Shape& shape, DType dtype) {
    row.action = row.from == dtype ? "keep" : "cast";
    row.bits = dtype_bits(dtype);
    row.bytes_after = tensor_bytes(dtype, shape).value_or(0);
  };
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Slot& slot = weights_.all()[i].slot;
    PlanRow row = plan_row(slot, choices_[i]);
    if (choices_[i].shares_head) {
      // Stored once, with the lm_head.
      row.action = "keep";
      row.bits = row.block_size = 0;
    } else if (choices_[i].is_float()) {
      float_row(row, slot.shape, slot.seen_dtype());
    } else {
      row.job = stored_[i].job;
      row.bytes_after = stored_[i].bytes;
    }
    editor_.plan.rows.push_back(std::move(row));
  }
  if (!vectors) return;
  for (const Slot& slot : vectors_) {
    PlanRow row = plan_row(slot, {});
    float_row(row, slot.shape, io);
    editor_.plan.rows.push_back(std::move(row));
  }
}

// ---- Interface
// -----------------------------------------------------------------------------------------

void fill_value_info(onnx::ValueInfoProto& info, const std::string& name, DType dtype,
                     const std::vector<std::string>& dims) {
  info.set_name(name);
  auto& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx_from_dtype(dtype));
  for (const std::string& text : dims) {
    auto& dim = *type.mutable_shape()->add_dim();
    if (std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
      dim.set_dim_value(std::stoll(text));
    else
      dim.set_dim_param(text);
  }
}

void GraphWriter::input(const std::string& name, DType dtype,
                        const std::vector<std::string>& dims) {
  fill_value_info(*graph().add_input(), name, dtype, dims);
}
void GraphWriter::output(const std::string& name, DType dtype,
                         const std::vector<std::string>& dims) {
  fill_value_info(*graph().add_output(), name, dtype, dims);
}

void set_float(onnx::NodeProto& node, const char* name, float value) {
  auto* a = node.add_attribute();
  a->set_name(name);
  a->set_type(onnx::AttributeProto::FLOAT);
  a->set_f(value);
}

void set_string(onnx::NodeProto& node, const char* name, const std::string& value) {
  auto* a = node.add_attribute();
  a->set_name(name);
  a->set_type(onnx::AttributeProto::STRING);
  a->set_s(value);
}

void set_ints(onnx::NodeProto& node, const char* name, const std::vector<int64_t>& values) {
  auto* a = node.add_attribute();
  a->set_name(name);
  a->set_type(onnx::AttributeProto::INTS);
  for (const int64_t v : values) a->add_ints(v);
}

}  // namespace phiquant::format
