#include "format/onnx/from_checkpoint.h"

#include <fmt/format.h>

#include "format/decoder/draft.h"
#include "format/decoder/onnx_parts.h"

namespace phiquant {
namespace {

using namespace format;

Result<void> check_length(const Checkpoint& checkpoint, const Request& r) {
  const auto length = r.output.onnx.sequence_length;
  if (length && *length > checkpoint.decoder.context)
    return Error{Errc::usage, fmt::format("--sequence-length {}: the model's context is {} tokens",
                                          *length, checkpoint.decoder.context)};
  return {};
}

}  // namespace

Result<Draft> draft_plain_onnx(const Checkpoint& checkpoint, const Request& request,
                               const Evidence& evidence) {
  PHIQUANT_TRY(check_length(checkpoint, request));
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
