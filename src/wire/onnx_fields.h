// The shape of a ModelProto as one table: which field of which message is again a message. Reading
// and writing payloads walk serialized models by it. Source: onnx-ml.proto of onnx 1.23.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace phiquant {

enum class OnnxKind : uint8_t {
  // Messages that can hold a tensor.
  model,
  graph,
  node,
  attribute,
  sparse,
  function,
  training,
  tensor,
  // Messages that cannot; their number is bounded, their bytes are kept.
  value_info,
  type,
  type_tensor,
  type_holder,
  type_map,
  shape,
  dimension,
  entry,
  opset,
  annotation,
  device,
  node_device,
  sharding,
  sharded_dim,
  int_list_entry,
  leaf,
  // Repeated integers: up to 8 bytes of memory for one of the file.
  integers,
};
constexpr bool can_hold_tensor(OnnxKind kind) { return kind < OnnxKind::tensor; }

struct OnnxField {
  OnnxKind parent;
  uint32_t number;
  OnnxKind child;
  bool repeated;
  const char* name;  // as in onnx-ml.proto
};

// Fields of `parent` that are messages (or integers); the most that one message has.
std::span<const OnnxField> onnx_fields(OnnxKind parent);
constexpr size_t kMaxOnnxFields = 10;

// nullptr where the field is a string, a number or unknown.
const OnnxField* find_onnx_field(OnnxKind parent, uint32_t number);

}  // namespace phiquant
