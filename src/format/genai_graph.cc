#include "format/genai_graph.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/half.h"
#include "phiquant/sources.h"

namespace phiquant::format {

GraphWriter::GraphWriter(Editor& editor, const Checkpoint& c, const TargetInfo& t, DType io_dtype)
    : checkpoint(c), decoder(c.decoder), target(t), io(io_dtype), editor_(editor) {}

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

SourceTensor GraphWriter::weight(phiquant::Role role, int32_t layer, bool bias, int32_t expert) {
  if (const SourceTensor* tensor = checkpoint.find(role, layer, bias, expert)) return *tensor;
  if (error_)
    error_ =
        Error{Errc::unsupported, fmt::format("{}: layer {} has no {} {}, which its block needs",
                                             checkpoint.folder.string(), layer, role_name(role),
                                             bias ? "bias" : "weight")};
  return {};
}

bool GraphWriter::has(phiquant::Role role, int32_t layer, bool bias) const {
  return checkpoint.find(role, layer, bias) != nullptr;
}

std::string GraphWriter::initializer(const std::string& name, SourceTensor tensor) {
  if (!tensor.bytes) return name;  // the error is noted
  onnx::TensorProto& proto = *graph().add_initializer();
  proto = make_tensor(name, io, tensor.shape);
  tensor.name = name;
  sources_.emplace(name, tensor);
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
  if (!rows.bytes) return name;
  const uint64_t n = rows.shape[0], k = rows.shape[1];
  onnx::TensorProto& proto = *graph().add_initializer();
  proto = make_tensor(name, dtype, {k, n});
  sources_.emplace(name, rows);
  SourceTensor data = quantized && dtype != DType::f32 ? cast_source(rows, dtype) : rows;
  editor_.set_decoded(
      proto,
      {WeightSource{name, k, n, DenseStorage{std::move(data), Orientation::nk}}, Orientation::kn});
  return name;
}

std::string GraphWriter::linear(const std::string& base, phiquant::Role role, int32_t layer,
                                const std::string& from, const SourceTensor& rows,
                                const SourceTensor* bias, const std::string& to, DType dtype) {
  const std::string weight_name =
      matrix(dotted(base) + ".MatMul.weight", rows, dtype == DType::undefined ? io : dtype);
  const std::string product = base + "/MatMul", sum = base + "/Add";
  const bool is_last = !bias;
  std::string out = is_last && !to.empty() ? to : product + "/output_0";
  node("MatMul", product, {from, weight_name}, {out});
  linears_[product] = {role, layer};
  if (!bias) return out;
  const std::string bias_name = initializer(dotted(base) + ".Add.bias", *bias);
  const std::string in = out;
  out = to.empty() ? sum + "/output_0" : to;
  node("Add", sum, {in, bias_name}, {out});
  return out;
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

std::string layer_path(int32_t layer, const std::string& rest) {
  return fmt::format("/model/layers.{}/{}", layer, rest);
}

std::string dotted(const std::string& path) {
  std::string name = path.substr(path.starts_with('/') ? 1 : 0);
  std::replace(name.begin(), name.end(), '/', '.');
  return name;
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
