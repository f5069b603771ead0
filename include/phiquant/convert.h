// The library's verbs: quantize, inspect, compare. The command line is a thin layer over these.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "phiquant/error.h"
#include "phiquant/model.h"
#include "phiquant/plan.h"
#include "phiquant/scheme.h"

namespace phiquant {

enum class Style : uint8_t { contrib, qdq };  // MatMulNBits or standard DequantizeLinear
enum class TableBits : uint8_t { automatic, keep, int8, int4 };  // embeddings and lm_head

// Where a checkpoint's graph is to run: the execution providers of ONNX Runtime.
enum class Target : uint8_t { cpu, cuda, dml, webgpu, qnn };
constexpr std::string_view kTargetNames[] = {"cpu", "cuda", "dml", "webgpu", "qnn"};
enum class Recipe : uint8_t {
  standard,
  builder
};  // our defaults, or those of ONNX Runtime GenAI's model builder
enum class OutputFormat : uint8_t { automatic, genai, onnx, gguf, mlx };

// What the user asked for. Defaults are the command line's.
struct QuantizeOptions {
  std::filesystem::path input, output;
  Precision precision = Precision::int4;
  std::string scheme;                  // empty: the precision's default
  std::optional<uint32_t> block_size;  // empty: the scheme's default (32)
  std::optional<bool> symmetric;       // empty: the scheme's default
  std::optional<int> accuracy_level;   // MatMulNBits attribute 0..4; empty: 4 for int4 and int8
  Style style = Style::contrib;
  bool search = false;                          // weighted least-squares scale search
  bool uniform = false;                         // no protection of lm_head
  std::vector<std::string> include, exclude;    // globs over node and tensor names
  TableBits embeddings = TableBits::automatic;  // automatic: keep
  TableBits lm_head = TableBits::automatic;     // automatic: int8 under int4, unless uniform
  bool keep_io_types = true;                    // fp16/bf16: graph inputs and outputs stay fp32
  std::vector<std::string>
      op_block_list;              // fp16/bf16: op types that stay fp32, added to the default list
  bool strict = false;            // non-finite weights, fp16 overflow and underflow are errors
  unsigned threads = 0;           // 0: all
  uint64_t max_memory_bytes = 0;  // 0: 400 MB
  uint64_t external_data_threshold = 1024;  // tensors below stay inside model.onnx
  uint64_t max_file_size = 0;  // 0: no limit; external data is split over several files
  bool dry_run = false;
  bool force = false;            // replace an existing output
  bool follow_symlinks = false;  // accept links that leave the model's folder
  bool measure_error = true;     // SQNR, cosine, max error per tensor, computed while quantizing
  // From checkpoints only:
  Target target = Target::cpu;
  Recipe recipe = Recipe::standard;
  OutputFormat format = OutputFormat::automatic;  // automatic: GenAI for checkpoints, ONNX for ONNX
  bool mixed_layers = false;  // int4: int8 for qkv and down projections of the sensitive layers
  // Plain ONNX: the graph takes exactly that many tokens of one text; empty: any number.
  std::optional<uint32_t> sequence_length;
  bool text_only = false;  // the text part of a multimodal checkpoint
  MergeLora merge_lora = MergeLora::none;
  // GGUF only:
  std::filesystem::path imatrix;          // importance of columns, from llama-imatrix; empty: none
  std::vector<std::string> tensor_types;  // "GLOB=TYPE" over GGUF tensor names, the first wins
  std::string token_embedding_type, output_tensor_type;  // "q8_0"; empty: by the mix
  bool pure = false;                                     // every weight gets the scheme's base type
  bool via_f16 = false;  // round to f16 first, as a conversion through an F16 file does
  // MLX only:
  std::optional<uint64_t> context;  // tokens the model will be used with: picks the rope factors
};

struct TensorError {   // of dequantized against original values
  double sqnr_db = 0;  // +inf when exact
  double cosine = 0;
  double max_abs = 0;
  uint64_t overflowed = 0, underflowed = 0, nan = 0;  // casts
};

struct ReportRow {
  PlanRow plan;
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

// Called from one thread at a time, at most every few milliseconds; returning false cancels.
struct Progress {
  std::function<bool(uint64_t done_bytes, uint64_t total_bytes)> update;
  std::function<void(const std::string& step)> step;  // "reading", "planning", ...
};

// Plans from headers, then streams. The output is complete or untouched.
Result<QuantizeReport> quantize(const QuantizeOptions& options, const Progress& progress = {});

struct InspectTensor {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t size_bytes;
  std::string location;     // "inline" or the external file
  std::string used_by;      // op type of the first consumer; in checkpoints its role
  std::string quantizable;  // "int4 int8 fp16 bf16", "fp16 bf16", "" ...
  std::string type = {};    // how it is stored where no dtype says it: "q4_k"
};
struct InspectReport {
  std::string path, format;  // "onnx", "genai", "checkpoint", "gguf", "mlx"
  std::vector<std::pair<std::string, std::string>>
      properties;  // ir_version, producer, opset imports, metadata
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
Result<InspectReport> inspect(const std::filesystem::path& path, bool follow_symlinks = false);

struct CompareRow {
  std::string name;              // of the weight in A
  std::string dtype_a, dtype_b;  // "float32", "int4 block 32", ...
  Shape shape;
  TensorError error;
  std::string name_b = {};  // of its partner in B
};
struct CompareReport {
  std::vector<CompareRow> rows;
  std::vector<std::string> only_a, only_b;  // weights without a partner
  double total_sqnr_db = 0;
};
// B against A, tensor by tensor, dequantized, streaming. Each may be of any format that is read:
// ONNX, GenAI folders, checkpoints (their text part), GGUF files, MLX folders.
Result<CompareReport> compare(const std::filesystem::path& a, const std::filesystem::path& b,
                              unsigned threads = 0, const Progress& progress = {});

}  // namespace phiquant
