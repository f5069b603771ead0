#include "format/formats.h"

#include <algorithm>

#include "format/genai/plan.h"
#include "format/genai/targets.h"
#include "format/gguf/plan.h"
#include "format/mlx/plan.h"
#include "format/onnx/from_checkpoint.h"
#include "format/onnx/plan.h"

namespace phiquant {
namespace {

constexpr Format kFormats[] = {
    {OutputFormat::genai, "genai", "folder for ONNX Runtime GenAI; from checkpoints", "", true,
     draft_genai},
    {OutputFormat::onnx, "onnx", "ONNX model, weights inline or in external data files", ".onnx",
     false, draft_plain_onnx, nullptr, draft_onnx},
    {OutputFormat::gguf, "gguf", "GGUF file for llama.cpp; from checkpoints and GGUF files",
     ".gguf", false, draft_gguf, draft_gguf},
    {OutputFormat::mlx, "mlx", "folder for MLX (mlx_lm, MLX Swift); from checkpoints", "", true,
     draft_mlx},
};

}  // namespace

std::span<const Format> formats() { return kFormats; }

const Format& format_info(OutputFormat format) {
  return *std::find_if(std::begin(kFormats), std::end(kFormats),
                       [&](const Format& row) { return row.format == format; });
}

const Format& checkpoint_format(const OutputSpec& output) {
  if (output.format != OutputFormat::automatic) return format_info(output.format);
  const bool fixed = format::target_info(output.onnx.target).fixed_shapes;
  return fixed ? format_info(OutputFormat::onnx) : kFormats[0];
}

}  // namespace phiquant
