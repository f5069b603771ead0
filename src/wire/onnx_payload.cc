#include "wire/onnx_payload.h"

#include <charconv>
#include <string>
#include <utility>

namespace phiquant {
namespace {

constexpr std::pair<onnx::TensorProto::DataType, DType> kDTypes[] = {
    {onnx::TensorProto::FLOAT, DType::f32},
    {onnx::TensorProto::UINT8, DType::u8},
    {onnx::TensorProto::INT8, DType::i8},
    {onnx::TensorProto::UINT16, DType::u16},
    {onnx::TensorProto::INT16, DType::i16},
    {onnx::TensorProto::INT32, DType::i32},
    {onnx::TensorProto::INT64, DType::i64},
    {onnx::TensorProto::STRING, DType::string},
    {onnx::TensorProto::BOOL, DType::boolean},
    {onnx::TensorProto::FLOAT16, DType::f16},
    {onnx::TensorProto::DOUBLE, DType::f64},
    {onnx::TensorProto::UINT32, DType::u32},
    {onnx::TensorProto::UINT64, DType::u64},
    {onnx::TensorProto::COMPLEX64, DType::c64},
    {onnx::TensorProto::COMPLEX128, DType::c128},
    {onnx::TensorProto::BFLOAT16, DType::bf16},
    {onnx::TensorProto::FLOAT8E4M3FN, DType::f8e4m3},
    {onnx::TensorProto::FLOAT8E4M3FNUZ, DType::f8e4m3fnuz},
    {onnx::TensorProto::FLOAT8E5M2, DType::f8e5m2},
    {onnx::TensorProto::FLOAT8E5M2FNUZ, DType::f8e5m2fnuz},
    {onnx::TensorProto::UINT4, DType::u4},
    {onnx::TensorProto::INT4, DType::i4},
    {onnx::TensorProto::FLOAT4E2M1, DType::f4e2m1},
    {onnx::TensorProto::FLOAT8E8M0, DType::f8e8m0},
    {onnx::TensorProto::UINT2, DType::u2},
    {onnx::TensorProto::INT2, DType::i2},
};

using Visit = std::function<void(const onnx::TensorProto&)>;

void visit_graph(const onnx::GraphProto& g, const Visit& visit);

void visit_sparse(const onnx::SparseTensorProto& s, const Visit& visit) {
  if (s.has_values()) visit(s.values());
  if (s.has_indices()) visit(s.indices());
}

void visit_attribute(const onnx::AttributeProto& a, const Visit& visit) {
  if (a.has_t()) visit(a.t());
  for (const auto& t : a.tensors()) visit(t);
  if (a.has_sparse_tensor()) visit_sparse(a.sparse_tensor(), visit);
  for (const auto& s : a.sparse_tensors()) visit_sparse(s, visit);
  if (a.has_g()) visit_graph(a.g(), visit);
  for (const auto& g : a.graphs()) visit_graph(g, visit);
}

void visit_node(const onnx::NodeProto& n, const Visit& visit) {
  for (const auto& a : n.attribute()) visit_attribute(a, visit);
}

void visit_graph(const onnx::GraphProto& g, const Visit& visit) {
  for (const auto& t : g.initializer()) visit(t);
  for (const auto& s : g.sparse_initializer()) visit_sparse(s, visit);
  for (const auto& n : g.node()) visit_node(n, visit);
}

}  // namespace

DType dtype_from_onnx(int32_t data_type) {
  for (const auto& [theirs, ours] : kDTypes)
    if (theirs == data_type) return ours;
  return DType::undefined;
}

int32_t onnx_from_dtype(DType t) {
  for (const auto& [theirs, ours] : kDTypes)
    if (ours == t) return theirs;
  return onnx::TensorProto::UNDEFINED;
}

void for_each_tensor(const onnx::ModelProto& model, const Visit& visit) {
  if (model.has_graph()) visit_graph(model.graph(), visit);
  for (const auto& f : model.functions()) {
    for (const auto& a : f.attribute_proto()) visit_attribute(a, visit);
    for (const auto& n : f.node()) visit_node(n, visit);
  }
  for (const auto& t : model.training_info()) {
    if (t.has_initialization()) visit_graph(t.initialization(), visit);
    if (t.has_algorithm()) visit_graph(t.algorithm(), visit);
  }
}

void for_each_tensor(onnx::ModelProto& model,
                     const std::function<void(onnx::TensorProto&)>& visit) {
  // The model is not const, so neither are its tensors.
  for_each_tensor(std::as_const(model), Visit([&](const onnx::TensorProto& t) {
                    visit(const_cast<onnx::TensorProto&>(t));
                  }));
}

std::optional<uint32_t> payload_index(const onnx::TensorProto& tensor) {
  if (tensor.external_data_size() != 1 || tensor.external_data(0).key() != kPayloadKey)
    return std::nullopt;
  const std::string& text = tensor.external_data(0).value();
  uint32_t index = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (status != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return index;
}

void set_payload_index(onnx::TensorProto& tensor, uint32_t index) {
  tensor.clear_raw_data();
  tensor.clear_float_data();
  tensor.clear_int32_data();
  tensor.clear_string_data();
  tensor.clear_int64_data();
  tensor.clear_double_data();
  tensor.clear_uint64_data();
  tensor.clear_external_data();
  auto* entry = tensor.add_external_data();
  entry->set_key(std::string(kPayloadKey));
  entry->set_value(std::to_string(index));
  // External, so that shape inference does not take the tensor for empty.
  tensor.set_data_location(onnx::TensorProto::EXTERNAL);
}

}  // namespace phiquant
