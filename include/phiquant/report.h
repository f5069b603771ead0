// What quantize(), inspect() and compare() tell. Types of elements are named as the command line
// names them: "float32", "bfloat16", "int4".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace phiquant {

struct TensorError {   // of dequantized against original values
  double sqnr_db = 0;  // +inf when exact
  double cosine = 0;
  double max_abs = 0;
  uint64_t overflowed = 0, underflowed = 0, nan = 0;  // casts
};

// What became of one weight.
struct ReportRow {
  std::string tensor;           // weight name in the input
  std::string node;             // node that uses it, "" if none
  std::string role;             // "linear", "lm_head", "embedding", "conv", "norm", "other"
  std::string from;             // element type in the input
  std::vector<uint64_t> shape;  // outermost dimension first
  std::string action;           // scheme name, "cast", "dequantize", "keep"
  unsigned bits = 0;
  uint32_t block_size = 0;  // 0: none
  std::string reason;       // why kept, or why not the default; "" if nothing to say
  uint64_t bytes_before = 0, bytes_after = 0;
  std::optional<TensorError> error;
};

struct QuantizeReport {
  std::vector<ReportRow> rows;
  std::vector<std::string> warnings;
  struct File {
    std::string path;
    uint64_t size_bytes;
  };
  std::vector<File> files;
  uint64_t input_bytes = 0, output_bytes = 0;
  uint64_t peak_memory_bytes = 0;           // planned bound; buffers, not the process
  std::optional<uint64_t> free_disk_bytes;  // of the output's file system
  double seconds = 0;
  std::optional<double> total_sqnr_db;  // over all quantized weights together
  bool dry_run = false;
};

struct InspectTensor {
  std::string name;
  std::string type;             // element type, or how it is stored: "float32", "q4_k"
  std::vector<uint64_t> shape;  // outermost dimension first
  uint64_t size_bytes;
  std::string location;     // "inline" or the external file
  std::string used_by;      // op type of the first consumer; in checkpoints its role
  std::string quantizable;  // "int4 int8 fp16 bf16", "fp16 bf16", "" ...
};

struct InspectReport {
  std::string path, format;  // "onnx", "genai", "checkpoint", "gguf", "mlx"
  // ir_version, producer, opset imports, metadata
  std::vector<std::pair<std::string, std::string>> properties;
  std::vector<InspectTensor> tensors;
  std::vector<std::pair<std::string, uint64_t>> ops;  // op type -> count, all scopes
  struct Io {
    std::string name, type;
    bool is_input;
  };
  std::vector<Io> io;
  std::vector<std::string> warnings;
  uint64_t size_bytes = 0;  // all files
};

struct CompareRow {
  std::string name;              // of the weight in A
  std::string dtype_a, dtype_b;  // "float32", "int4 block 32", ...
  std::vector<uint64_t> shape;   // outermost dimension first
  TensorError error;
  std::string name_b = {};  // of its partner in B
};

struct CompareReport {
  std::vector<CompareRow> rows;
  std::vector<std::string> only_a, only_b;  // weights without a partner
  double total_sqnr_db = 0;
};

}  // namespace phiquant
