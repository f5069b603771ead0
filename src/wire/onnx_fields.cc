#include "wire/onnx_fields.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace phiquant {
namespace {

using K = OnnxKind;

// Rows of one parent stand together.
constexpr OnnxField kFields[] = {
    {K::model, 7, K::graph, false, "graph"},
    {K::model, 8, K::opset, true, "opset_import"},
    {K::model, 14, K::entry, true, "metadata_props"},
    {K::model, 20, K::training, true, "training_info"},
    {K::model, 25, K::function, true, "functions"},
    {K::model, 26, K::device, true, "configuration"},
    {K::graph, 1, K::node, true, "node"},
    {K::graph, 5, K::tensor, true, "initializer"},
    {K::graph, 15, K::sparse, true, "sparse_initializer"},
    {K::graph, 11, K::value_info, true, "input"},
    {K::graph, 12, K::value_info, true, "output"},
    {K::graph, 13, K::value_info, true, "value_info"},
    {K::graph, 14, K::annotation, true, "quantization_annotation"},
    {K::graph, 16, K::entry, true, "metadata_props"},
    {K::node, 5, K::attribute, true, "attribute"},
    {K::node, 9, K::entry, true, "metadata_props"},
    {K::node, 10, K::node_device, true, "device_configurations"},
    {K::attribute, 5, K::tensor, false, "t"},
    {K::attribute, 6, K::graph, false, "g"},
    {K::attribute, 8, K::integers, true, "ints"},
    {K::attribute, 10, K::tensor, true, "tensors"},
    {K::attribute, 11, K::graph, true, "graphs"},
    {K::attribute, 14, K::type, false, "tp"},
    {K::attribute, 15, K::type, true, "type_protos"},
    {K::attribute, 22, K::sparse, false, "sparse_tensor"},
    {K::attribute, 23, K::sparse, true, "sparse_tensors"},
    {K::sparse, 1, K::tensor, false, "values"},
    {K::sparse, 2, K::tensor, false, "indices"},
    {K::sparse, 3, K::integers, true, "dims"},
    {K::function, 7, K::node, true, "node"},
    {K::function, 9, K::opset, true, "opset_import"},
    {K::function, 11, K::attribute, true, "attribute_proto"},
    {K::function, 12, K::value_info, true, "value_info"},
    {K::function, 14, K::entry, true, "metadata_props"},
    {K::training, 1, K::graph, false, "initialization"},
    {K::training, 2, K::graph, false, "algorithm"},
    {K::training, 3, K::entry, true, "initialization_binding"},
    {K::training, 4, K::entry, true, "update_binding"},
    {K::tensor, 1, K::integers, true, "dims"},
    {K::tensor, 3, K::leaf, false, "segment"},
    {K::tensor, 13, K::entry, true, "external_data"},
    {K::tensor, 16, K::entry, true, "metadata_props"},
    {K::value_info, 2, K::type, false, "type"},
    {K::value_info, 4, K::entry, true, "metadata_props"},
    {K::type, 1, K::type_tensor, false, "tensor_type"},
    {K::type, 4, K::type_holder, false, "sequence_type"},
    {K::type, 5, K::type_map, false, "map_type"},
    {K::type, 7, K::leaf, false, "opaque_type"},
    {K::type, 8, K::type_tensor, false, "sparse_tensor_type"},
    {K::type, 9, K::type_holder, false, "optional_type"},
    {K::type_tensor, 2, K::shape, false, "shape"},
    {K::type_holder, 1, K::type, false, "elem_type"},
    {K::type_map, 2, K::type, false, "value_type"},
    {K::shape, 1, K::dimension, true, "dim"},
    {K::annotation, 2, K::entry, true, "quant_parameter_tensor_names"},
    {K::node_device, 2, K::sharding, true, "sharding_spec"},
    {K::sharding, 2, K::integers, true, "device"},
    {K::sharding, 3, K::int_list_entry, true, "index_to_device_group_map"},
    {K::sharding, 4, K::sharded_dim, true, "sharded_dim"},
    {K::int_list_entry, 2, K::integers, true, "value"},
    {K::sharded_dim, 2, K::leaf, true, "simple_sharding"},
};

constexpr size_t kKinds = static_cast<size_t>(K::integers) + 1;
struct Range {
  size_t begin = 0, end = 0;
};

constexpr std::array<Range, kKinds> ranges() {
  std::array<Range, kKinds> out{};
  for (size_t i = 0; i < std::size(kFields); ++i) {
    Range& r = out[static_cast<size_t>(kFields[i].parent)];
    if (r.end == 0) r.begin = i;
    r.end = i + 1;
  }
  return out;
}
constexpr std::array<Range, kKinds> kRanges = ranges();

constexpr bool rows_stand_together() {
  for (const Range& r : kRanges)
    for (size_t i = r.begin; i < r.end; ++i)
      if (kFields[i].parent != kFields[r.begin].parent || r.end - r.begin > kMaxOnnxFields)
        return false;
  return true;
}
static_assert(rows_stand_together());

}  // namespace

std::span<const OnnxField> onnx_fields(OnnxKind parent) {
  const Range r = kRanges[static_cast<size_t>(parent)];
  return std::span(kFields).subspan(r.begin, r.end - r.begin);
}

const OnnxField* find_onnx_field(OnnxKind parent, uint32_t number) {
  for (const OnnxField& field : onnx_fields(parent))
    if (field.number == number) return &field;
  return nullptr;
}

}  // namespace phiquant
