#include "format/genai/plan.h"

#include <fmt/format.h>

#include "format/decoder/draft.h"
#include "format/decoder/onnx_parts.h"
#include "format/genai/config.h"
#include "format/side_files.h"

namespace phiquant {
namespace {

using namespace format;

bool is_integer(Precision p) { return p == Precision::int4 || p == Precision::int8; }

// Whether com.microsoft::QMoE takes the experts as the request wants them: symmetric codes in
// blocks that divide every row.
bool stacks_experts(const Decoder& d, const Request& r) {
  const uint32_t block = r.recipe.block_size.value_or(32);
  const bool blocks_fit =
      block >= 32 && block <= 128 && d.hidden % block == 0 && d.ffn % block == 0;
  const std::string& scheme = r.recipe.scheme;
  const bool symmetric = r.recipe.symmetric.value_or(true) &&
                         (scheme.empty() || scheme == "matmul_nbits" || scheme == "search");
  return is_integer(r.recipe.precision) && r.output.onnx.style != Style::qdq &&
         target_info(r.output.onnx.target).has_moe && blocks_fit && symmetric;
}

// The operator of block-sparse attention has kernels for CPU (float32, float16) and CUDA (float16,
// bfloat16), and wants the cache in one buffer.
Result<void> check_sparse_target(const Checkpoint& c, const Request& o) {
  if (!c.decoder.block_sparse) return {};
  PHIQUANT_TRY(check_block_sparse(c.decoder, c.folder.string()));
  const bool on_cuda =
      o.output.onnx.target == Target::cuda && o.recipe.precision != Precision::fp32;
  if (o.output.onnx.target == Target::cpu || on_cuda) return {};
  return Error{
      Errc::usage,
      fmt::format("--target {} --precision {}: ONNX Runtime computes the block-sparse attention of "
                  "{} on cpu (int4, int8, fp32) and cuda (int4, int8, fp16, bf16) only",
                  target_info(o.output.onnx.target).name,
                  kPrecisionNames[static_cast<size_t>(o.recipe.precision)], c.architecture)};
}

Result<void> add_files(Plan& plan, const Checkpoint& c, const Request& r) {
  PHIQUANT_TRY(add_sidecars(plan, c));
  const TargetInfo& target = target_info(r.output.onnx.target);
  // Float32 attention runs on the CPU provider also where the target is CUDA: its cache is copied,
  // not shared.
  const bool shares_buffer =
      !(target.target == Target::cuda && r.recipe.precision == Precision::fp32);
  PHIQUANT_ASSIGN(std::string config, genai_config(c, target, shares_buffer));
  add_text_file(plan, "genai_config.json", std::move(config));
  return {};
}

// What the user gets, and may not expect.
void add_warnings(Plan& plan, const Request& r, bool has_stacks) {
  if (r.output.onnx.target == Target::cuda && r.recipe.precision == Precision::fp32)
    plan.warnings.push_back(
        "--target cuda --precision fp32: ONNX Runtime has no float32 attention for CUDA and runs "
        "it on the CPU (fp16 and bf16 run whole)");
  // Measured with ONNX Runtime 1.31; 4-bit experts compute in float32.
  if (r.output.onnx.target == Target::cpu && has_stacks && r.recipe.precision == Precision::int8 &&
      r.output.onnx.accuracy_level.value_or(4) != 4)
    plan.warnings.push_back(
        "--accuracy-level: ONNX Runtime rounds activations of 8-bit experts to 8 bits on the CPU "
        "whatever it says (set ORT_QMOE_CPU_QNBIT_GEMM=fp32 in the environment to change that)");
}

}  // namespace

Result<Draft> draft_genai(const Checkpoint& checkpoint, const Request& request,
                          const Evidence& evidence) {
  PHIQUANT_TRY(check_sparse_target(checkpoint, request));
  const TargetInfo& target = target_info(request.output.onnx.target);
  const bool stacks = checkpoint.decoder.moe && stacks_experts(checkpoint.decoder, request);
  GraphSpec spec{target, io_dtype(target, request.recipe.precision)};
  spec.packed_qkv = target.packed_qkv;
  spec.stacks_experts = stacks;
  spec.walk = write_genai_decoder;
  spec.add_files = [&checkpoint, &request, stacks](Plan& plan) -> Result<void> {
    PHIQUANT_TRY(add_files(plan, checkpoint, request));
    add_warnings(plan, request, stacks);
    return {};
  };
  return draft_graph(checkpoint, request, evidence, std::move(spec));
}

}  // namespace phiquant
