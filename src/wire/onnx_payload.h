// ONNX protobuf without its tensor bytes. Reading strips the payloads of a serialized ModelProto
// and leaves markers; writing puts payloads of known size back, as holes that the pipeline fills at
// known offsets. One table of field numbers (onnx_payload.cc) says where a TensorProto can occur;
// both ways walk by it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <onnx/onnx_pb.h>

#include "core/input_file.h"
#include "core/output_layout.h"
#include "core/tensor.h"
#include "phiquant/error.h"

namespace phiquant {

DType dtype_from_onnx(int32_t data_type);  // undefined for unknown values
int32_t onnx_from_dtype(DType t);

constexpr uint32_t kNoFile = std::numeric_limits<uint32_t>::max();

// A tensor of a loaded model whose bytes stay in the file.
struct Payload {
  SourceTensor source;  // for tensors of the input
  // For tensors that a job makes: index into OnnxModel::out_tensors; kNoTensor for tensors of the
  // input.
  TensorId produced = kNoTensor;
  // The file that holds the bytes: index into OnnxModel::files; kNoFile for bytes in memory.
  uint32_t file = kNoFile;
};

// Calls `visit` for every TensorProto of the model, in a fixed order: initializers, sparse ones,
// attributes, bodies of nodes and functions, training graphs.
void for_each_tensor(onnx::ModelProto& model, const std::function<void(onnx::TensorProto&)>& visit);
void for_each_tensor(const onnx::ModelProto& model,
                     const std::function<void(const onnx::TensorProto&)>& visit);

// A TensorProto whose bytes live elsewhere carries this marker (an external_data entry that no file
// can hold: the reader rejects files that try). Index into OnnxModel::payloads.
std::optional<uint32_t> payload_index(const onnx::TensorProto& tensor);
void set_payload_index(onnx::TensorProto& tensor,
                       uint32_t index);  // clears raw_data and typed data

// The key of that entry.
constexpr std::string_view kPayloadKey = "phiquant.payload";

// A ModelProto of which every tensor of at least `kStripBytes` is a marker.
constexpr uint64_t kStripBytes = 1024;
struct OnnxModel {
  onnx::ModelProto proto;
  std::vector<Payload> payloads;
  std::filesystem::path path;                // the .onnx file
  std::vector<std::filesystem::path> files;  // it and its external data files, each once
  uint64_t input_bytes = 0;                  // sum of those files' sizes
};

// Serialized ModelProto -> OnnxModel::proto and the inline payloads (`file` backs `bytes`, which is
// its mapping; null: payloads are copied into memory). Packed float_data and double_data of
// stripped tensors are payload too; other typed data of large tensors (int32_data holding f16, ...)
// is decoded into memory. The bytes of tensors are not touched. Sets OnnxModel::proto, payloads,
// path (file's) and files (that one). Protobuf's rules hold: a singular message that occurs twice
// is merged, of raw_data the last one counts, unknown fields survive. Every tensor is checked:
// dtype known (unsupported), dims, element count and byte count (corrupt), segments (unsupported).
// Errors name file, field path and byte offset; a damaged or hostile structure is corrupt. Caps
// (unsupported): kMaxNesting messages inside each other, kMaxStructureBytes of memory for the
// structure, kMaxDecodedBytes for decoded typed data. External tensors, of any size, come back with
// a payload whose source.bytes is null, and a reference that model/onnx_loader resolves.
constexpr uint64_t kMaxStructureBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxDecodedBytes = uint64_t{512} << 20;
struct ExternalRef {
  uint32_t payload;
  std::string location;
  uint64_t offset;
  std::optional<uint64_t> length;
};
struct StrippedModel {
  OnnxModel model;
  std::vector<ExternalRef> external;
};
Result<StrippedModel> strip_payloads(std::shared_ptr<const InputFile> file,
                                     std::span<const std::byte> bytes);

// The reverse. `place(index)` tells for each marker where its bytes go: inside this file (a hole),
// or an external file. Deterministic serialization.
struct PayloadPlace {
  uint64_t size_bytes = 0;
  bool is_inline = true;
  std::string location;
  uint64_t offset = 0;  // external only
};
struct Hole {
  uint32_t payload;
  uint64_t offset;
  uint64_t size_bytes;
};
struct SplicedModel {
  std::vector<Literal> literals;  // everything but the holes, in order
  std::vector<Hole> holes;        // every occurrence
  uint64_t size_bytes = 0;
};
// Error unsupported where the file would pass protobuf's 2 GiB limit (says: use external data).
Result<SplicedModel> splice_payloads(const onnx::ModelProto& proto,
                                     const std::vector<PayloadPlace>& places);

}  // namespace phiquant
