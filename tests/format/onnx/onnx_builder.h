// Small ONNX models made of proto classes, and how to look at what plan_onnx made of them.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include "core/input_file.h"
#include "format/onnx/check.h"
#include "format/plans.h"

namespace phiquant::test {

struct Builder {
  onnx::ModelProto model;
  onnx::GraphProto* graph = nullptr;

  explicit Builder(int64_t opset = 21, int64_t ir_version = 10) {
    model.set_ir_version(ir_version);
    model.set_producer_name("exporter");
    model.set_producer_version("7");
    auto* import = model.add_opset_import();
    import->set_domain("");
    import->set_version(opset);
    graph = model.mutable_graph();
    graph->set_name("main");
  }

  static void value(onnx::ValueInfoProto* info, const std::string& name, int type,
                    const std::vector<int64_t>& dims) {
    info->set_name(name);
    auto* tensor = info->mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(type);
    tensor->mutable_shape();  // a scalar has an empty one
    for (const int64_t d : dims) tensor->mutable_shape()->add_dim()->set_dim_value(d);
  }
  Builder& input(const std::string& name, const std::vector<int64_t>& dims,
                 int type = onnx::TensorProto::FLOAT) {
    value(graph->add_input(), name, type, dims);
    return *this;
  }
  Builder& output(const std::string& name, const std::vector<int64_t>& dims,
                  int type = onnx::TensorProto::FLOAT) {
    value(graph->add_output(), name, type, dims);
    return *this;
  }

  static onnx::TensorProto tensor(const std::string& name, const std::vector<int64_t>& dims,
                                  int type, size_t element_bytes) {
    onnx::TensorProto t;
    t.set_name(name);
    t.set_data_type(type);
    size_t count = 1;
    for (const int64_t d : dims) {
      t.add_dims(d);
      count *= static_cast<size_t>(d);
    }
    t.set_raw_data(std::string(count * element_bytes, '\0'));
    return t;
  }
  Builder& weight(const std::string& name, const std::vector<int64_t>& dims,
                  int type = onnx::TensorProto::FLOAT, size_t element_bytes = 4) {
    *graph->add_initializer() = tensor(name, dims, type, element_bytes);
    return *this;
  }
  Builder& floats(const std::string& name, const std::vector<int64_t>& dims,
                  const std::vector<float>& values) {
    auto* t = graph->add_initializer();
    *t = tensor(name, dims, onnx::TensorProto::FLOAT, 4);
    t->set_raw_data(std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
    return *this;
  }

  static onnx::NodeProto* fill(onnx::NodeProto* node, const std::string& op,
                               const std::string& name, const std::vector<std::string>& inputs,
                               const std::vector<std::string>& outputs,
                               const std::string& domain = "") {
    node->set_op_type(op);
    node->set_name(name);
    node->set_domain(domain);
    for (const auto& i : inputs) node->add_input(i);
    for (const auto& o : outputs) node->add_output(o);
    return node;
  }
  onnx::NodeProto* node(const std::string& op, const std::string& name,
                        const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const std::string& domain = "") {
    return fill(graph->add_node(), op, name, inputs, outputs, domain);
  }

  OnnxModel loaded() const {
    OnnxModel m;
    m.proto = model;
    m.path = "m.onnx";
    m.input_bytes = 1000;
    return m;
  }
};

// y [2, 32] = x [2, 64] * w, of float32.
inline Builder one_matmul(int64_t opset = 21, int64_t ir_version = 10) {
  Builder b(opset, ir_version);
  b.input("x", {2, 64})
      .output("y", {2, 32})
      .weight("w", {64, 32})
      .node("MatMul", "fc", {"x", "w"}, {"y"});
  return b;
}

inline onnx::AttributeProto* attribute(onnx::NodeProto* node, const std::string& name,
                                       onnx::AttributeProto::AttributeType type) {
  auto* a = node->add_attribute();
  a->set_name(name);
  a->set_type(type);
  return a;
}
inline void set_int(onnx::NodeProto* node, const std::string& name, int64_t v) {
  attribute(node, name, onnx::AttributeProto::INT)->set_i(v);
}
inline void set_float(onnx::NodeProto* node, const std::string& name, float v) {
  attribute(node, name, onnx::AttributeProto::FLOAT)->set_f(v);
}
inline void set_ints(onnx::NodeProto* node, const std::string& name,
                     const std::vector<int64_t>& v) {
  auto* a = attribute(node, name, onnx::AttributeProto::INTS);
  for (const int64_t i : v) a->add_ints(i);
}

inline Request options_for(Precision precision) {
  Request o;
  o.recipe.precision = precision;
  o.output.path = "out";
  return o;
}

inline Request with_scheme(Precision precision, const std::string& scheme) {
  Request o = options_for(precision);
  o.recipe.scheme = scheme;
  return o;
}

// The protobuf that the plan writes: literals with zeros in the holes.
inline onnx::ModelProto written(const Plan& plan) {
  std::string bytes(plan.files[0].size_bytes, '\0');
  for (const Literal& l : plan.files[0].literals)
    bytes.replace(static_cast<size_t>(l.offset), l.bytes.size(), l.bytes);
  onnx::ModelProto model;
  EXPECT_TRUE(model.ParseFromString(bytes));
  return model;
}

struct Planned {
  Plan plan;
  onnx::ModelProto model;
};
inline Planned planned(const Builder& builder, const Request& options) {
  auto plan = plan_onnx(builder.loaded(), options);
  EXPECT_TRUE(plan) << plan.error().message;
  if (!plan) return {};
  Planned p{std::move(*plan), {}};
  p.model = written(p.plan);
  return p;
}
// The output as an input; the bytes that jobs would have written are zeros.
inline Builder again(const Planned& p) {
  Builder b;
  b.model = p.model;
  b.graph = b.model.mutable_graph();
  for (auto& t : *b.graph->mutable_initializer()) {
    if (t.data_location() != onnx::TensorProto::EXTERNAL) continue;
    Shape shape;
    for (const int64_t d : t.dims()) shape.push_back(static_cast<uint64_t>(d));
    t.set_raw_data(std::string(
        static_cast<size_t>(*tensor_bytes(dtype_from_onnx(t.data_type()), shape)), '\0'));
    t.clear_external_data();
    t.clear_data_location();
  }
  return b;
}
inline Error refused(const Builder& builder, const Request& options) {
  auto plan = plan_onnx(builder.loaded(), options);
  EXPECT_FALSE(plan);
  return plan ? Error{} : plan.error();
}

// What the onnx library says against a model; "" if nothing.
inline std::string complaint(const onnx::ModelProto& model) {
  const auto checked = check_onnx(model);
  return checked ? "" : checked.error().message;
}

// "MatMulNBits(x, w_Q4, w_scales) -> y", one line a node.
inline std::string text(const onnx::NodeProto& n) {
  std::string s = n.op_type() + "(";
  for (int i = 0; i < n.input_size(); ++i) s += (i ? ", " : "") + n.input(i);
  s += ") -> ";
  for (int i = 0; i < n.output_size(); ++i) s += (i ? ", " : "") + n.output(i);
  return s;
}
inline std::vector<std::string> text(
    const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes) {
  std::vector<std::string> out;
  for (const auto& n : nodes) out.push_back(text(n));
  return out;
}
// "K=64 N=32 bits=4", in the file's order.
inline std::string ints(const onnx::NodeProto& n) {
  std::string s;
  for (const auto& a : n.attribute())
    s += (s.empty() ? "" : " ") + a.name() + "=" + std::to_string(a.i());
  return s;
}
// "uint8 [32, 2, 16]" of an initializer; "" where there is none.
inline std::string initializer(const onnx::GraphProto& graph, const std::string& name) {
  for (const auto& t : graph.initializer()) {
    if (t.name() != name) continue;
    Shape shape;
    for (const int64_t d : t.dims()) shape.push_back(static_cast<uint64_t>(d));
    return std::string(dtype_name(dtype_from_onnx(t.data_type()))) + " " + shape_string(shape);
  }
  return "";
}
inline std::vector<std::string> initializers(const onnx::GraphProto& graph) {
  std::vector<std::string> out;
  for (const auto& t : graph.initializer()) out.push_back(t.name());
  return out;
}
inline const PlanRow* row(const Plan& plan, const std::string& tensor) {
  for (const PlanRow& r : plan.rows)
    if (r.tensor == tensor) return &r;
  return nullptr;
}

}  // namespace phiquant::test
