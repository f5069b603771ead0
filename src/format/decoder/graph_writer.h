// Writes nodes and weights of a language model's graph under the names that ONNX Runtime GenAI's
// model builder gives them (onnxruntime-genai 0.18: opset 22, IR 10, com.microsoft 1), so that
// tools and users meet what they know.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "decide/choice.h"
#include "decide/integer_settings.h"
#include "format/decoder/weights.h"
#include "format/genai/targets.h"
#include "format/onnx/edit.h"
#include "model/checkpoint.h"

namespace phiquant::format {

class GraphWriter {
 public:
  // `choices`: one for each of `weights`.
  GraphWriter(Editor& editor, const Checkpoint& checkpoint, const TargetInfo& target, DType io,
              const GraphWeights& weights, const std::vector<Choice>& choices);

  const Checkpoint& checkpoint;
  const Decoder& decoder;
  const TargetInfo& target;
  const DType io;            // of activations, caches and float weights
  bool quantized = false;    // some weights will be quantized: they are rounded to `io` first
  bool is_standard = false;  // only operators of the ONNX standard may be used

  // ---- Nodes ----
  // A node with one output "<name>/output_0", whose name is returned.
  std::string add(const char* op, const std::string& name, const std::vector<std::string>& inputs,
                  const char* domain = "");
  onnx::NodeProto& node(const char* op, const std::string& name,
                        const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const char* domain = "");
  std::string cast(const std::string& name, const std::string& input, DType to);

  // ---- Constants ----
  // Constant nodes "/model/constants/INT64/<value>", made at first use.
  std::string int64(int64_t value);
  std::string int64s(const std::vector<int64_t>& values);
  std::string scalar(DType dtype, float value);
  std::string float_scalar(float value) { return scalar(io, value); }

  // ---- Weights ----
  bool has(Role role, int32_t layer = -1, bool bias = false) const;
  const GraphWeight& weight(const WeightKey& key) const {
    return weights_.all()[weights_.index(key)];
  }
  // Whether a layer's experts are stored one behind the other.
  bool has_stack(int32_t layer) const { return weights_.has({Role::expert_gate, layer}); }
  const Choice& choice(const WeightKey& key) const { return choices_[weights_.index(key)]; }
  // A norm's scale or bias under a name of the graph, as `io`. Where the checkpoint has none the
  // writer fails (error()).
  std::string vector(const WeightKey& key, const std::string& name);
  // An initializer with the tensor's values and shape, as `io`.
  std::string initializer(const std::string& name, SourceTensor tensor);
  // One with the tensor's values, shape and type.
  std::string table(const std::string& name, SourceTensor tensor);
  // One that a job of the caller writes.
  std::string produced(const std::string& name, TensorId out);
  // y = x W^T of a linear: node "<path>/MatMul" with initializer "<path>.MatMul.weight" [K, N],
  // which finish() turns into what was chosen; with a bias also "<path>/Add". `output` names the
  // result; "": "<last node>/output_0".
  std::string linear(const WeightKey& key, const std::string& input,
                     const std::string& output = "");
  // Rows of the embedding: a Gather of its table, or of the lm_head's weight turned over where both
  // are one.
  std::string embedding(const std::string& ids);
  // Notes the job that stores a stack of experts, and its size.
  void stored(const WeightKey& key, uint32_t job, uint64_t bytes);

  // After the last node: quantizes what was chosen to be, and adds the rows of the report.
  Result<void> finish(const IntegerSettings* settings);

  // ---- Interface ----
  void input(const std::string& name, DType dtype,
             const std::vector<std::string>& dims);  // digits: a fixed dimension
  void output(const std::string& name, DType dtype, const std::vector<std::string>& dims);

  Editor& editor() { return editor_; }
  onnx::GraphProto& graph() { return *editor_.model.proto.mutable_graph(); }
  Result<void> error() const { return error_; }

 private:
  // A node that reads a weight of weights_, until finish().
  struct Reader {
    size_t weight;
    int node;   // index in the graph
    int input;  // which of its inputs is the weight
    bool nk;    // read as [N, K]
  };
  struct Stored {
    std::optional<uint32_t> job;
    uint64_t bytes = 0;
  };

  std::string constant(const std::string& text, const onnx::TensorProto& tensor);
  std::string matrix(const std::string& name, const SourceTensor& rows, DType dtype);
  Result<void> quantize(const IntegerSettings& settings);
  void add_rows(bool vectors);

  Editor& editor_;
  const GraphWeights& weights_;
  const std::vector<Choice>& choices_;
  std::vector<Reader> readers_;
  std::vector<Stored> stored_;  // of each weight
  std::vector<Slot> vectors_;   // and tables: what is stored beside the weights
  std::map<std::string, std::string> constants_;
  Result<void> error_;
};

void set_float(onnx::NodeProto& node, const char* name, float value);
void set_string(onnx::NodeProto& node, const char* name, const std::string& value);
void set_ints(onnx::NodeProto& node, const char* name, const std::vector<int64_t>& values);
void fill_value_info(onnx::ValueInfoProto& info, const std::string& name, DType dtype,
                     const std::vector<std::string>& dims);

}  // namespace phiquant::format
