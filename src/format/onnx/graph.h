// Names and uses in an ONNX model: which scope defines a value, who produces it, who reads it.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <onnx/onnx_pb.h>

namespace phiquant::format {

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

struct Scope;

// One place that reads a value: input `input` of `node`.
struct Use {
  Scope* scope = nullptr;
  onnx::NodeProto* node = nullptr;
  int input = 0;
};

// The main graph, the body of an If, Loop or Scan, or a function: where value names are defined.
// Pointers into the protobuf stay valid while nodes and tensors are edited in place and appended.
struct Scope {
  onnx::GraphProto* graph = nullptr;        // null for functions
  onnx::FunctionProto* function = nullptr;  // null for graphs
  onnx::NodeProto* owner = nullptr;         // the node whose body this is
  Scope* parent = nullptr;  // its values are visible here; null for the main graph and functions
  std::unordered_map<std::string, onnx::TensorProto*>
      constants;  // initializers and Constant nodes with a tensor
  std::unordered_map<std::string, onnx::NodeProto*> producers;
  std::unordered_set<std::string> inputs, outputs;
  std::unordered_map<std::string, std::vector<Use>> uses;  // of values defined here, from any scope

  Nodes& nodes() const;
  bool defines(const std::string& name) const;
};

class GraphIndex {
 public:
  explicit GraphIndex(onnx::ModelProto& model);

  // The main graph first, every subgraph after the scope that holds it, then functions.
  const std::vector<std::unique_ptr<Scope>>& scopes() const { return scopes_; }
  Scope& main() const { return *scopes_.front(); }

  // The scope that defines `name` as seen from `from`; nullptr where none does (or name is empty).
  static Scope* defining(Scope* from, const std::string& name);
  // Readers of a value, given the scope that defines it. Graph outputs are not among them.
  static const std::vector<Use>& uses(const Scope& definer, const std::string& name);
  // True where nothing reads the value and no graph returns it.
  static bool unused(const Scope& definer, const std::string& name);

  const std::unordered_set<std::string>& value_names() const { return value_names_; }
  const std::unordered_set<std::string>& node_names() const { return node_names_; }

 private:
  void add_graph(onnx::GraphProto& graph, Scope* parent, onnx::NodeProto* owner);
  void add_nodes(Scope& scope);

  std::vector<std::unique_ptr<Scope>> scopes_;
  std::unordered_set<std::string> value_names_, node_names_;
};

// "" and "ai.onnx" are the same domain.
bool is_standard(const onnx::NodeProto& node);
bool is_op(const onnx::NodeProto& node, const char* op_type);            // of the standard domain
bool is_microsoft_op(const onnx::NodeProto& node, const char* op_type);  // of com.microsoft

const onnx::AttributeProto* find_attribute(const onnx::NodeProto& node, const char* name);
onnx::AttributeProto* find_attribute(onnx::NodeProto& node, const char* name);
int64_t int_attribute(const onnx::NodeProto& node, const char* name, int64_t otherwise);
float float_attribute(const onnx::NodeProto& node, const char* name, float otherwise);
void add_int_attribute(onnx::NodeProto& node, const char* name, int64_t value);

// The tensor of a Constant node's `value`; nullptr for other nodes and the other forms.
onnx::TensorProto* constant_tensor(onnx::NodeProto& node);

// Every TensorProto of the model, in the order of the file's fields. `kind` tells what holds it.
enum class TensorPlace { initializer, constant_node, attribute, sparse };
struct TensorAt {
  onnx::TensorProto* tensor = nullptr;
  TensorPlace place = TensorPlace::initializer;
  bool in_function = false;
};
std::vector<TensorAt> all_tensors(onnx::ModelProto& model);

}  // namespace phiquant::format
