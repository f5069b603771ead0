// What a caller asks of quantize(): where the model is, what its weights are to become, what is to
// be written, and how the run behaves. The defaults are the command line's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phiquant {

// automatic: the one that the scheme has (GGUF, MLX); where it names none, the request is refused.
enum class Precision : uint8_t { int4, int8, fp16, bf16, fp32, automatic };
// Of all but automatic.
constexpr std::string_view kPrecisionNames[] = {"int4", "int8", "fp16", "bf16", "fp32"};

enum class Style : uint8_t { contrib, qdq };  // MatMulNBits or standard DequantizeLinear
enum class TableBits : uint8_t { automatic, keep, int8, int4 };  // embeddings and lm_head

// Where a checkpoint's graph is to run: the execution providers of ONNX Runtime.
enum class Target : uint8_t { cpu, cuda, dml, webgpu, qnn };
constexpr std::string_view kTargetNames[] = {"cpu", "cuda", "dml", "webgpu", "qnn"};

// Whose choice it is where the recipe leaves something open: ours, or that of the format's own tool
// (ONNX Runtime GenAI's model builder, mlx_lm.convert).
enum class Defaults : uint8_t { ours, builder };

enum class OutputFormat : uint8_t { automatic, genai, onnx, gguf, mlx };

enum class MergeLora : uint8_t { none, vision, speech };

struct SourceOptions {
  std::filesystem::path path;    // an .onnx or .gguf file, or a folder
  bool follow_symlinks = false;  // accept links that leave the model's folder
  // Checkpoints only:
  bool text_only = false;  // the text part of a multimodal one
  MergeLora merge_lora = MergeLora::none;
};

// What each weight is to become.
struct Recipe {
  Precision precision = Precision::automatic;
  std::string scheme;                  // empty: the precision's default in the output's format
  std::optional<uint32_t> block_size;  // empty: the scheme's default
  std::optional<bool> symmetric;       // empty: the scheme's default
  bool search = false;                 // weighted least-squares scale search
  bool protect = true;        // int4: more bits for what 4 bits ruin (lm_head, ...), exact routers
  bool mixed_layers = false;  // int4, from checkpoints: 8 bits for sensitive layers
  Defaults defaults = Defaults::ours;
  std::vector<std::string> include, exclude;    // globs over node and tensor names
  TableBits embeddings = TableBits::automatic;  // automatic: keep
  TableBits lm_head = TableBits::automatic;     // automatic: int8 under int4, where protected
  // GGUF only:
  std::filesystem::path imatrix;          // importance of columns, from llama-imatrix; empty: none
  std::vector<std::string> tensor_types;  // "GLOB=TYPE" over GGUF tensor names, the first wins
  std::string token_embedding_type, output_tensor_type;  // "q8_0"; empty: by the mix
  bool pure = false;                                     // every weight gets the scheme's base type
};

// Of formats that hold an ONNX graph.
struct OnnxSettings {
  Target target = Target::cpu;  // from checkpoints only
  Style style = Style::contrib;
  std::optional<int> accuracy_level;        // MatMulNBits attribute 0..4; empty: the target's
  std::optional<bool> keep_io_types;        // fp16/bf16: inputs and outputs stay fp32; empty: yes
  std::vector<std::string> op_block_list;   // fp16/bf16: op types that stay fp32, beside the usual
  uint64_t external_data_threshold = 1024;  // tensors below stay inside model.onnx
  // Plain ONNX from checkpoints: the graph takes exactly that many tokens of one text; empty: any.
  std::optional<uint32_t> sequence_length;
};

struct GgufSettings {
  bool via_f16 = false;  // round to f16 first, as a conversion through an F16 file does
};

struct MlxSettings {
  std::optional<uint64_t> context;  // tokens the model will be used with: picks the rope factors
};

// One output: its place, its format, and what only that format asks.
struct OutputSpec {
  std::filesystem::path path;
  OutputFormat format = OutputFormat::automatic;  // by the path's ending, the input and the target
  uint64_t max_file_size = 0;  // 0: no limit; else the output is split over several files
  OnnxSettings onnx;
  GgufSettings gguf;
  MlxSettings mlx;
};

struct RunOptions {
  unsigned threads = 0;           // 0: all
  uint64_t max_memory_bytes = 0;  // 0: 400 MB
  bool dry_run = false;           // plan only
  bool force = false;             // replace an existing output
  bool strict = false;            // non-finite weights, fp16 overflow and underflow are errors
  bool measure_error = true;      // SQNR, cosine, max error per tensor, computed while quantizing
};

struct Request {
  SourceOptions source;
  Recipe recipe;
  OutputSpec output;
  RunOptions run;
};

}  // namespace phiquant
