// The state of a rewrite: the model, the plan that grows beside it, and edits that keep node order
// and names sound.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "decide/evidence.h"
#include "format/onnx/graph.h"
#include "format/plan.h"
#include "phiquant/options.h"
#include "wire/onnx_payload.h"

namespace phiquant::format {

// A tensor of the output that is a quantized weight of the input as floats; decoded only where it
// is still there in the end.
struct DecodedWeight {
  WeightSource source;
  Orientation orientation = Orientation::kn;  // of the float tensor
};

class Editor {
 public:
  Editor(OnnxModel model, const Request& options, const Evidence& evidence);

  OnnxModel model;
  const Request& options;
  const Evidence& evidence;
  Plan plan;
  std::unique_ptr<GraphIndex> index;

  // ---- Sources ----
  // The tensor's bytes wherever they are; for small inline tensors a copy. The dtype is the stored
  // one, which for a retyped tensor (see retype) differs from the TensorProto's. The bytes of
  // decoded weights are null.
  SourceTensor source(const onnx::TensorProto& tensor);
  const DecodedWeight* decoded(const onnx::TensorProto& tensor) const;
  // Turns an inline tensor into a marker, so that a job writes it. No effect on markers.
  void make_payload(onnx::TensorProto& tensor);
  // Declares that the output holds `tensor` as `to`; the job that casts or decodes follows when the
  // plan is laid out.
  void retype(onnx::TensorProto& tensor, DType to);
  // A marker for a quantized weight that reads as floats.
  void set_decoded(onnx::TensorProto& tensor, DecodedWeight weight);
  // A marker whose bytes are those of an input tensor.
  void set_source(onnx::TensorProto& tensor, SourceTensor source);

  // ---- New constants ----
  // A tensor that a job will write. `near`: the tensor it takes the place of in the initializer
  // list (may be null). In functions, which have no initializers, it becomes a Constant node.
  TensorId add_tensor(Scope& scope, const onnx::TensorProto* near, const std::string& name,
                      DType dtype, Shape shape);
  // A tensor made by the caller.
  void add_constant(Scope& scope, const onnx::TensorProto* near, onnx::TensorProto tensor);
  // Scalar or vector constants.
  std::string add_float_scalar(Scope& scope, const std::string& name, DType dtype, float value);
  std::string add_int64_vector(Scope& scope, const std::string& name,
                               const std::vector<int64_t>& values);

  // ---- Names ----
  // `wanted`, with _1, _2, ... appended where it is taken; it is taken from then on.
  std::string value_name(const std::string& wanted);
  std::string node_name(const std::string& wanted);

  // ---- Nodes ----
  // Queued until apply(). Nodes are changed in place; these add neighbours and remove.
  onnx::NodeProto& insert_before(Scope& scope, const onnx::NodeProto& node);
  onnx::NodeProto& insert_after(Scope& scope, const onnx::NodeProto& node);
  onnx::NodeProto& append_front(Scope& scope);
  void remove(const onnx::NodeProto& node);
  // A value that lost a reader: its constant or producer goes if nothing reads it any more.
  void released(Scope& scope, const std::string& name);
  // Puts the queued edits into the model, removes what released() named and is now unused, and
  // indexes again: all pointers to Scope and NodeProto are invalid afterwards, those to TensorProto
  // of initializers too.
  void apply();
  // After nodes and tensors were put into the model directly: indexes again and takes note of their
  // names.
  void reindex();

  // ---- Requirements ----
  // Adds an opset import where missing, to the model and to the function that holds `scope`.
  void require_domain(const Scope& scope, const std::string& domain, int64_t version);
  int64_t opset() const;  // of the standard domain
  // Whether every node keeps its meaning there.
  bool can_have_opset(int64_t version) const;
  // Raises the standard opset import (and IR version) where every node keeps its meaning; see
  // format/onnx/opset.cc.
  Result<void> require_opset(int64_t version, int64_t ir_version, const std::string& what);

  uint32_t add_job(Job job);
  void warn(std::string message);

 private:
  using NodeList = std::vector<std::unique_ptr<onnx::NodeProto>>;
  struct NewTensor {
    const onnx::TensorProto* near;
    onnx::TensorProto tensor;
  };
  struct ScopeEdits {
    NodeList front;
    std::vector<NewTensor> tensors;
  };
  struct Released {
    const void* graph;
    std::string name;
  };  // graph or function
  using Values = std::vector<std::pair<Scope*, std::string>>;

  void rebuild_nodes(Scope& scope);
  void rebuild_initializers(Scope& scope, const std::unordered_set<const onnx::TensorProto*>& dead);
  void rebuild_all(const std::unordered_set<const onnx::TensorProto*>& dead);
  void prune();
  void prune_value(Scope& scope, const std::string& name, Values& work,
                   std::unordered_set<const onnx::TensorProto*>& dead);

  std::unordered_map<uint32_t, DecodedWeight> decoded_;
  std::unordered_map<const onnx::NodeProto*, NodeList> before_, after_;
  std::unordered_map<Scope*, ScopeEdits> edits_;
  std::unordered_set<const onnx::NodeProto*> removed_;
  std::vector<Released> released_;
  std::unordered_set<std::string> value_names_, node_names_;
  std::set<std::string> warned_;
};

// Bytes of a tensor whose data is inside the message, little-endian as raw_data would hold them.
std::string inline_bytes(const onnx::TensorProto& tensor);
Shape shape_of(const onnx::TensorProto& tensor);
onnx::TensorProto make_tensor(const std::string& name, DType dtype, const Shape& shape);
onnx::ValueInfoProto* find_value_info(
    google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& list, const std::string& name);

}  // namespace phiquant::format
