#include "format/formats.h"

#include "format/genai.h"
#include "format/gguf.h"
#include "format/mlx.h"

namespace phiquant {
namespace {

constexpr CheckpointFormat kFormats[] = {
    {OutputFormat::genai, "genai", "folder for ONNX Runtime GenAI; from checkpoints", plan_genai},
    {OutputFormat::onnx, "onnx", "ONNX model, weights inline or in external data files",
     plan_genai},
    {OutputFormat::gguf, "gguf", "GGUF file for llama.cpp; from checkpoints and GGUF files",
     plan_gguf},
    {OutputFormat::mlx, "mlx", "folder for MLX (mlx_lm, MLX Swift); from checkpoints", plan_mlx},
};

}  // namespace

std::span<const CheckpointFormat> checkpoint_formats() { return kFormats; }

const CheckpointFormat& checkpoint_format(OutputFormat format) {
  for (const CheckpointFormat& row : kFormats)
    if (row.format == format) return row;
  return kFormats[0];
}

}  // namespace phiquant
