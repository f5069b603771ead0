#include "format/onnx/from_checkpoint.h"

#include <fmt/format.h>

#include "format/decoder/draft.h"
#include "format/decoder/onnx_parts.h"

namespace phiquant {
namespace {

using namespace format;

bool is_integer(Precision p) { return p == Precision::int4 || p == Precision::int8; }

// What a target without dynamic shapes leaves open.
Result<void> check_fixed_shapes(const Request& r) {
  const TargetInfo& target = target_info(r.output.onnx.target);
  const auto refuse = [&](const std::string& what) {
    return Error{Errc::usage, fmt::format("--target {}: {}", target.name, what)};
  };
  PHIQUANT_TRY(check_target(target.target, r.recipe.precision));
  if (!r.output.onnx.sequence_length)
    return refuse("takes no dynamic shapes (give --sequence-length N, the tokens of a call)");
  if (!is_integer(r.recipe.precision)) return {};
  if (r.output.onnx.style == Style::qdq)
    return refuse(
        "runs weights behind DequantizeLinear only between quantized activations, which need "
        "calibration data (leave out --style)");
  const uint32_t block = r.recipe.block_size.value_or(32);
  if ((block != 32 && block != 64) || !r.recipe.symmetric.value_or(true))
    return refuse("takes symmetric blocks of 32 or 64 (leave out --block-size and --asymmetric)");
  if (r.recipe.lm_head == TableBits::int8 || r.recipe.mixed_layers)
    return refuse("has no 8-bit weights (leave out --lm-head int8 and --mixed-layers)");
  return {};
}

Result<void> check_options(const Checkpoint& checkpoint, const Request& r) {
  const TargetInfo& target = target_info(r.output.onnx.target);
  if (target.fixed_shapes)
    PHIQUANT_TRY(check_fixed_shapes(r));
  else if (target.target != Target::cpu)
    return Error{
        Errc::usage,
        "--target: has no meaning with --format onnx, which is for every runtime (leave it out)"};
  if (r.recipe.mixed_layers && r.recipe.precision != Precision::int4)
    return Error{Errc::usage, "--mixed-layers: only for --precision int4 (leave it out)"};
  const auto length = r.output.onnx.sequence_length;
  if (length && *length > checkpoint.decoder.context)
    return Error{Errc::usage, fmt::format("--sequence-length {}: the model's context is {} tokens",
                                          *length, checkpoint.decoder.context)};
  return {};
}

}  // namespace

Result<Draft> draft_plain_onnx(const Checkpoint& checkpoint, const Request& request,
                               const Evidence& evidence) {
  PHIQUANT_TRY(check_options(checkpoint, request));
  const TargetInfo& target = target_info(request.output.onnx.target);
  GraphSpec spec{target, io_dtype(target, request.recipe.precision)};
  spec.is_standard = true;
  spec.opset = 21;  // the first with 4-bit DequantizeLinear
  spec.walk = [length = request.output.onnx.sequence_length](GraphWriter& w) {
    write_plain_decoder(w, length);
  };
  return draft_graph(checkpoint, request, evidence, std::move(spec));
}

}  // namespace phiquant
