#include "format/genai/targets.h"

#include <fmt/format.h>

namespace phiquant::format {
namespace {

template <class... P>
constexpr unsigned set_of(P... precisions) {
  return ((1u << static_cast<unsigned>(precisions)) | ...);
}

// Facts from the outputs of onnxruntime-genai 0.18's model builder. Left out are pairs that it
// writes and no runtime loads: float16 and bfloat16 for the CPU lack kernels. Accuracy level 4
// (int8 activations) has kernels on CPU and WebGPU.
constexpr TargetInfo kTargets[] = {
    {.target = Target::cpu,
     .name = "cpu",
     .precisions = set_of(Precision::int4, Precision::int8, Precision::fp32),
     .half = DType::f32,
     .accuracy_level = 4,
     .names_sliding_window = true},
    {.target = Target::cuda,
     .name = "cuda",
     .precisions = set_of(Precision::int4, Precision::int8, Precision::fp16, Precision::bf16,
                          Precision::fp32),
     .names_sliding_window = true,
     .provider_options = R"({"enable_cuda_graph": "0"})"},
    {.target = Target::dml,
     .name = "dml",
     .precisions = set_of(Precision::int4, Precision::fp16),
     .rotary_in_attention = false,
     .packed_qkv = false,
     .has_if = false,
     .has_moe = false,
     .provider_options = R"({"enable_graph_capture": "1"})"},
    {.target = Target::webgpu,
     .name = "webgpu",
     .precisions = set_of(Precision::int4, Precision::fp16),
     .accuracy_level = 4,
     .provider_options = R"({"enableGraphCapture": "0", "validationMode": "basic"})"},
    // Facts from onnxruntime-qnn's documentation and its pull request 288 and issue 650: shapes
    // must be fixed; without calibration data the NPU runs float16, and 4-bit MatMulNBits in blocks
    // of 32 or 64 between float16 activations (from version 2.4 on). Weights behind
    // DequantizeLinear run there only where activations are quantized too, and GenAI's pipeline
    // takes context binaries compiled from such models.
    {.target = Target::qnn,
     .name = "qnn",
     .precisions = set_of(Precision::int4, Precision::fp16),
     .rotary_in_attention = false,
     .packed_qkv = false,
     .has_if = false,
     .fixed_shapes = true},
};

std::string precisions_of(const TargetInfo& target) {
  std::string text;
  for (size_t p = 0; p < std::size(kPrecisionNames); ++p)
    if (runs(target, static_cast<Precision>(p)))
      text += fmt::format("{}{}", text.empty() ? "" : ", ", kPrecisionNames[p]);
  return text;
}

}  // namespace

std::span<const TargetInfo> targets() { return kTargets; }

const TargetInfo& target_info(Target target) { return kTargets[static_cast<size_t>(target)]; }

bool runs(const TargetInfo& target, Precision precision) {
  return target.precisions & (1u << static_cast<unsigned>(precision));
}

std::string legal_pairs() {
  std::string text;
  for (const TargetInfo& t : kTargets)
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", t.name, precisions_of(t));
  return text;
}

DType io_dtype(const TargetInfo& target, Precision precision) {
  switch (precision) {
    case Precision::int4:
    case Precision::int8:
      return target.half;
    case Precision::fp16:
      return DType::f16;
    case Precision::bf16:
      return DType::bf16;
    case Precision::fp32:
    case Precision::automatic:
      break;
  }
  return DType::f32;
}

}  // namespace phiquant::format
