// Writes nodes and weights of a language model's graph under the names that ONNX Runtime GenAI's
// model builder gives them (onnxruntime-genai 0.18: opset 22, IR 10, com.microsoft 1), so that
// tools and users meet what they know.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "format/onnx_edit.h"
#include "format/targets.h"
#include "phiquant/model.h"

namespace phiquant::format {

class GraphWriter {
 public:
  GraphWriter(Editor& editor, const Checkpoint& checkpoint, const TargetInfo& target, DType io);

  const Checkpoint& checkpoint;
  const Decoder& decoder;
  const TargetInfo& target;
  const DType io;            // of activations, caches and float weights
  bool quantized = false;    // weights will be quantized: they are rounded to `io` first
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
  // The checkpoint's tensor. Where it has none the writer fails (see error()) and an empty tensor
  // is returned.
  SourceTensor weight(phiquant::Role role, int32_t layer = -1, bool bias = false,
                      int32_t expert = -1);
  bool has(phiquant::Role role, int32_t layer = -1, bool bias = false) const;
  // An initializer with the tensor's values and shape, as `io`.
  std::string initializer(const std::string& name, SourceTensor tensor);
  // One with the tensor's values, shape and type.
  std::string table(const std::string& name, SourceTensor tensor);
  // One that a job of the caller writes.
  std::string produced(const std::string& name, TensorId out);
  // y = x W^T: node "<base>/MatMul" with initializer "<base>.MatMul.weight" [K, N]; `rows` is W,
  // [N, K]. With a bias also "<base>/Add". `output` names the result; "": "<last node>/output_0".
  // `dtype`: of input, weight and result where that is not `io`; then there is no bias.
  std::string linear(const std::string& base, phiquant::Role role, int32_t layer,
                     const std::string& input, const SourceTensor& rows,
                     const SourceTensor* bias = nullptr, const std::string& output = "",
                     DType dtype = DType::undefined);
  // The [K, N] initializer alone.
  std::string matrix(const std::string& name, const SourceTensor& rows, DType dtype);

  // ---- Interface ----
  void input(const std::string& name, DType dtype,
             const std::vector<std::string>& dims);  // digits: a fixed dimension
  void output(const std::string& name, DType dtype, const std::vector<std::string>& dims);

  Editor& editor() { return editor_; }
  onnx::GraphProto& graph() { return *editor_.model.proto.mutable_graph(); }
  Result<void> error() const { return error_; }

  struct Linear {
    phiquant::Role role;
    int32_t layer;
  };
  const std::map<std::string, Linear>& linears() const { return linears_; }  // by node name
  const std::map<std::string, SourceTensor>& sources() const {
    return sources_;
  }  // by initializer name

 private:
  std::string constant(const std::string& text, const onnx::TensorProto& tensor);

  Editor& editor_;
  std::map<std::string, Linear> linears_;
  std::map<std::string, SourceTensor> sources_;
  std::map<std::string, std::string> constants_;
  Result<void> error_;
};

// "/model/layers.3/mlp/down_proj" for (3, "mlp/down_proj").
std::string layer_path(int32_t layer, const std::string& rest);
// "/model/layers.3/mlp" -> "model.layers.3.mlp".
std::string dotted(const std::string& path);

void set_float(onnx::NodeProto& node, const char* name, float value);
void set_string(onnx::NodeProto& node, const char* name, const std::string& value);
void set_ints(onnx::NodeProto& node, const char* name, const std::vector<int64_t>& values);
void fill_value_info(onnx::ValueInfoProto& info, const std::string& name, DType dtype,
                     const std::vector<std::string>& dims);

}  // namespace phiquant::format
