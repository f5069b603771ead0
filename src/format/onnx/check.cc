#include "format/onnx/check.h"

#include <exception>
#include <string>

#include <onnx/checker.h>
#include <onnx/defs/schema.h>
#include <onnx/shape_inference/implementation.h>

#include "format/onnx/edit.h"
#include "format/onnx/graph.h"
#include "wire/onnx_payload.h"

namespace phiquant {
namespace {

using Schema = onnx::OpSchema;

const std::vector<std::string> kFloats = {"tensor(float)", "tensor(float16)", "tensor(bfloat16)"};

void matmul_nbits_shape(onnx::InferenceContext& ctx) {
  onnx::propagateElemTypeFromInputToOutput(ctx, 0, 0);
  if (!onnx::hasInputShape(ctx, 0)) return;
  const auto& a = onnx::getInputShape(ctx, 0);
  const int64_t k = onnx::getAttribute(ctx, "K", int64_t{-1}),
                n = onnx::getAttribute(ctx, "N", int64_t{-1});
  if (a.dim_size() == 0) fail_shape_inference("MatMulNBits: A is a scalar");
  const auto& last = a.dim(a.dim_size() - 1);
  if (last.has_dim_value() && last.dim_value() != k)
    fail_shape_inference("MatMulNBits: A has ", last.dim_value(), " columns, K is ", k);
  onnx::TensorShapeProto shape = a;
  shape.mutable_dim(a.dim_size() - 1)->Clear();
  shape.mutable_dim(a.dim_size() - 1)->set_dim_value(n);
  onnx::updateOutputShape(ctx, 0, shape);
}

void gather_shape(onnx::InferenceContext& ctx) {
  onnx::propagateElemTypeFromInputToOutput(ctx, 2, 0);
}

void first_input_shape(onnx::InferenceContext& ctx) {
  onnx::propagateShapeAndTypeFromFirstInput(ctx);
}

Schema matmul_nbits() {
  Schema s;
  s.SetName("MatMulNBits").SetDomain("com.microsoft").SinceVersion(1);
  for (const char* name : {"K", "N"}) s.Attr(name, "", onnx::AttributeProto::INT, true);
  s.Attr("block_size", "", onnx::AttributeProto::INT, true)
      .Attr("bits", "", onnx::AttributeProto::INT, int64_t{4});
  s.Attr("accuracy_level", "", onnx::AttributeProto::INT, int64_t{0})
      .Attr("weight_prepacked", "", onnx::AttributeProto::INT, int64_t{0});
  s.Input(0, "A", "", "T1").Input(1, "B", "", "T2").Input(2, "scales", "", "T1");
  s.Input(3, "zero_points", "", "T3", Schema::Optional)
      .Input(4, "g_idx", "", "T4", Schema::Optional);
  s.Input(5, "bias", "", "T1", Schema::Optional).Output(0, "Y", "", "T1");
  s.TypeConstraint("T1", kFloats, "").TypeConstraint("T2", {"tensor(uint8)"}, "");
  s.TypeConstraint("T3", {"tensor(uint8)", "tensor(float)", "tensor(float16)", "tensor(bfloat16)"},
                   "");
  s.TypeConstraint("T4", {"tensor(int32)"}, "").TypeAndShapeInferenceFunction(matmul_nbits_shape);
  return s;
}

Schema gather_block_quantized() {
  Schema s;
  s.SetName("GatherBlockQuantized").SetDomain("com.microsoft").SinceVersion(1);
  s.Attr("bits", "", onnx::AttributeProto::INT, int64_t{4})
      .Attr("block_size", "", onnx::AttributeProto::INT, int64_t{128});
  s.Attr("gather_axis", "", onnx::AttributeProto::INT, int64_t{0})
      .Attr("quantize_axis", "", onnx::AttributeProto::INT, int64_t{1});
  s.Input(0, "data", "", "T1").Input(1, "indices", "", "Tind").Input(2, "scales", "", "T2");
  s.Input(3, "zero_points", "", "T1", Schema::Optional).Output(0, "output", "", "T2");
  s.TypeConstraint("T1", {"tensor(int4)", "tensor(uint4)", "tensor(uint8)"}, "")
      .TypeConstraint("T2", kFloats, "");
  s.TypeConstraint("Tind", {"tensor(int32)", "tensor(int64)"}, "")
      .TypeAndShapeInferenceFunction(gather_shape);
  return s;
}

// In the standard domain, where ONNX Runtime's exporters put it.
Schema simplified_layer_normalization() {
  Schema s;
  s.SetName("SimplifiedLayerNormalization").SetDomain("").SinceVersion(1);
  s.Attr("axis", "", onnx::AttributeProto::INT, int64_t{-1})
      .Attr("epsilon", "", onnx::AttributeProto::FLOAT, 1e-5f);
  s.Attr("stash_type", "", onnx::AttributeProto::INT, int64_t{1});
  s.Input(0, "X", "", "T")
      .Input(1, "scale", "", "T")
      .Output(0, "Y", "", "T")
      .Output(1, "inv_std_var", "", "U", Schema::Optional);
  s.TypeConstraint("T", {"tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)"},
                   "");
  s.TypeConstraint("U", {"tensor(float)", "tensor(double)"}, "")
      .TypeAndShapeInferenceFunction(first_input_shape);
  return s;
}

bool is_absent(const onnx::TensorProto& tensor) {
  return tensor.data_location() == onnx::TensorProto::EXTERNAL;
}

void add_input(onnx::GraphProto& graph, const onnx::TensorProto& tensor) {
  auto* input = graph.add_input();
  input->set_name(tensor.name());
  auto* type = input->mutable_type()->mutable_tensor_type();
  type->set_elem_type(tensor.data_type());
  type->mutable_shape();
  for (const int64_t d : tensor.dims()) type->mutable_shape()->add_dim()->set_dim_value(d);
}

// Markers and external tensors stand for bytes that are not there: those of the main graph become
// inputs of the same type, the few others are filled with zeros.
onnx::ModelProto without_markers(const onnx::ModelProto& model) {
  onnx::ModelProto copy = model;
  auto& graph = *copy.mutable_graph();
  google::protobuf::RepeatedPtrField<onnx::TensorProto> kept;
  for (auto& tensor : *graph.mutable_initializer()) {
    if (!is_absent(tensor))
      kept.Add()->Swap(&tensor);
    else if (!format::find_value_info(*graph.mutable_input(), tensor.name()))
      add_input(graph, tensor);
  }
  graph.mutable_initializer()->Swap(&kept);
  for (const format::TensorAt& at : format::all_tensors(copy)) {
    if (!is_absent(*at.tensor)) continue;
    const uint64_t size =
        tensor_bytes(dtype_from_onnx(at.tensor->data_type()), format::shape_of(*at.tensor))
            .value_or(0);
    at.tensor->clear_external_data();
    at.tensor->clear_data_location();
    at.tensor->set_raw_data(std::string(size, '\0'));
  }
  return copy;
}

}  // namespace

void register_runtime_schemas() {
  static const bool done = [] {
    auto& domains = onnx::OpSchemaRegistry::DomainToVersionRange::Instance();
    if (!domains.Map().count("com.microsoft")) domains.AddDomainToVersion("com.microsoft", 1, 1);
    for (const Schema& schema :
         {matmul_nbits(), gather_block_quantized(), simplified_layer_normalization()})
      onnx::RegisterSchema(schema, 0, false, false);
    return true;
  }();
  (void)done;
}

Result<void> check_onnx(const onnx::ModelProto& model) {
  register_runtime_schemas();
  try {
    onnx::ModelProto copy = without_markers(model);
    onnx::checker::check_model(copy);
    onnx::ShapeInferenceOptions options{true, 1, false};
    onnx::shape_inference::InferShapes(copy, onnx::OpSchemaRegistry::Instance(), options);
  } catch (const std::exception& e) {
    return Error{Errc::corrupt, std::string("the onnx library rejects the model: ") + e.what()};
  }
  return {};
}

}  // namespace phiquant
