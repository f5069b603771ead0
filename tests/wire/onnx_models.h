// Small ONNX models for tests, and the way back from a stripped model to bytes.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include "wire/onnx_payload.h"

namespace phiquant::test {

inline std::span<const std::byte> as_bytes(const std::string& s) {
  return std::as_bytes(std::span(s));
}

inline std::string serialize(const google::protobuf::MessageLite& message) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  EXPECT_TRUE(message.SerializeToCodedStream(&coded));
  coded.Trim();
  return out;
}

// n bytes that differ from place to place and from seed to seed.
inline std::string pattern(size_t n, unsigned seed) {
  std::string out(n, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& c : out) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return out;
}

inline void set_header(onnx::TensorProto& t, const std::string& name, int32_t data_type,
                       const std::vector<int64_t>& dims) {
  t.set_name(name);
  t.set_data_type(data_type);
  for (const int64_t d : dims) t.add_dims(d);
}

inline void set_raw(onnx::TensorProto& t, const std::string& name, int32_t data_type,
                    const std::vector<int64_t>& dims, unsigned seed = 1) {
  set_header(t, name, data_type, dims);
  Shape shape(dims.begin(), dims.end());
  t.set_raw_data(pattern(tensor_bytes(dtype_from_onnx(data_type), shape).value(), seed));
}

inline void set_external(onnx::TensorProto& t, const std::string& name, int32_t data_type,
                         const std::vector<int64_t>& dims,
                         const std::vector<std::pair<std::string, std::string>>& entries) {
  set_header(t, name, data_type, dims);
  t.set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] : entries) {
    auto* e = t.add_external_data();
    e->set_key(key);
    e->set_value(value);
  }
}

inline onnx::ModelProto empty_model() {
  onnx::ModelProto m;
  m.set_ir_version(10);
  m.set_producer_name("test");
  auto* opset = m.add_opset_import();
  opset->set_domain("");
  opset->set_version(21);
  m.mutable_graph()->set_name("g");
  return m;
}

inline onnx::NodeProto* add_node(onnx::GraphProto& g, const std::string& op,
                                 const std::vector<std::string>& inputs,
                                 const std::vector<std::string>& outputs) {
  auto* n = g.add_node();
  n->set_op_type(op);
  n->set_name(op + "_" + outputs.at(0));
  for (const auto& i : inputs) n->add_input(i);
  for (const auto& o : outputs) n->add_output(o);
  return n;
}

inline void add_io(onnx::GraphProto& g, const std::string& name, bool is_input,
                   const std::vector<int64_t>& dims) {
  auto* v = is_input ? g.add_input() : g.add_output();
  v->set_name(name);
  auto* type = v->mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx::TensorProto::FLOAT);
  for (const int64_t d : dims) type->mutable_shape()->add_dim()->set_dim_value(d);
}

inline onnx::AttributeProto* add_attribute(onnx::NodeProto& n, const std::string& name,
                                           onnx::AttributeProto::AttributeType type) {
  auto* a = n.add_attribute();
  a->set_name(name);
  a->set_type(type);
  return a;
}

// Tensors in every place that can hold one, large and small, with doc strings, metadata and unknown
// fields.
inline onnx::ModelProto rich_model() {
  using T = onnx::TensorProto;
  onnx::ModelProto m = empty_model();
  m.set_doc_string("a model");
  auto* prop = m.add_metadata_props();
  prop->set_key("k");
  prop->set_value("v");
  auto& g = *m.mutable_graph();
  add_io(g, "x", true, {1, 16});
  add_io(g, "y", false, {1, 16});
  set_raw(*g.add_initializer(), "w", T::FLOAT, {16, 32}, 2);
  set_raw(*g.add_initializer(), "small", T::INT64, {3}, 3);
  set_raw(*g.add_initializer(), "half", T::FLOAT16, {1024}, 4);
  set_raw(*g.add_initializer(), "nibbles", T::INT4, {4095}, 5);
  g.mutable_initializer(0)->set_doc_string("weight");
  auto* meta = g.mutable_initializer(0)->add_metadata_props();
  meta->set_key("origin");
  meta->set_value("test");
  auto* strings = g.add_initializer();
  set_header(*strings, "words", T::STRING, {2});
  strings->add_string_data(std::string(2000, 'a'));
  strings->add_string_data("");
  auto* sparse = g.add_sparse_initializer();
  set_raw(*sparse->mutable_values(), "sparse", T::FLOAT, {300}, 6);
  set_raw(*sparse->mutable_indices(), "sparse_at", T::INT64, {300}, 7);
  sparse->add_dims(100000);
  set_raw(*add_attribute(*add_node(g, "Constant", {}, {"c"}), "value", onnx::AttributeProto::TENSOR)
               ->mutable_t(),
          "", T::DOUBLE, {200}, 8);
  auto* branch =
      add_attribute(*add_node(g, "If", {"x"}, {"y"}), "then_branch", onnx::AttributeProto::GRAPH);
  set_raw(*branch->mutable_g()->add_initializer(), "inner", T::BFLOAT16, {33, 33}, 9);
  auto* many =
      add_attribute(*add_node(g, "Custom", {"x"}, {"z"}), "tensors", onnx::AttributeProto::TENSORS);
  set_raw(*many->add_tensors(), "t0", T::UINT8, {5000}, 10);
  set_raw(*many->add_tensors(), "t1", T::UINT8, {5}, 11);
  set_raw(*many->add_graphs()->add_initializer(), "in_graphs", T::FLOAT, {256}, 12);
  set_raw(*many->add_sparse_tensors()->mutable_values(), "in_sparse", T::FLOAT, {256}, 13);
  auto* f = m.add_functions();
  f->set_name("f");
  f->set_domain("local");
  auto* inside = f->add_node();
  inside->set_op_type("Constant");
  inside->add_output("fc");
  set_raw(*add_attribute(*inside, "value", onnx::AttributeProto::TENSOR)->mutable_t(), "", T::FLOAT,
          {16, 16}, 14);
  auto* dflt = f->add_attribute_proto();
  dflt->set_name("d");
  dflt->set_type(onnx::AttributeProto::TENSOR);
  set_raw(*dflt->mutable_t(), "default", T::FLOAT, {256}, 15);
  set_raw(*m.add_training_info()->mutable_algorithm()->add_initializer(), "training", T::FLOAT,
          {256}, 16);
  // Field 1000 as a string and field 1001 as a number, in model and tensor.
  m.mutable_unknown_fields()->append("\xc2\x3e\x03new\xc8\x3e\x2a");
  g.mutable_initializer(2)->mutable_unknown_fields()->append("\xc2\x3e\x03old");
  return m;
}

inline std::string read_all(const ByteSource& source) {
  std::string out(source.size_bytes(), '\0');
  const auto status = source.read(0, std::as_writable_bytes(std::span(out)));
  EXPECT_TRUE(status.has_value());
  return out;
}

// The spliced file with its holes filled.
inline std::string fill(const SplicedModel& spliced, const std::vector<Payload>& payloads) {
  std::string out(spliced.size_bytes, '?');
  for (const Literal& l : spliced.literals) out.replace(l.offset, l.bytes.size(), l.bytes);
  for (const Hole& h : spliced.holes) {
    const std::string bytes = read_all(*payloads.at(h.payload).source.bytes);
    EXPECT_EQ(bytes.size(), h.size_bytes);
    out.replace(h.offset, bytes.size(), bytes);
  }
  EXPECT_EQ(out.size(), spliced.size_bytes);
  return out;
}

inline std::vector<PayloadPlace> all_inline(const std::vector<Payload>& payloads) {
  std::vector<PayloadPlace> places;
  for (const Payload& p : payloads) places.push_back({p.source.bytes->size_bytes(), true, "", 0});
  return places;
}

}  // namespace phiquant::test
