#include "format/onnx/rewrite.h"

#include <fmt/format.h>

namespace phiquant::format {

Result<QuantizedNames> rewrite_weight(Editor& editor, const Candidate& c, const Choice& choice,
                                      int accuracy_level, QuantizedCache& cache) {
  switch (choice.encoding->layout) {
    case Layout::nbits:
      return rewrite_nbits(editor, c, choice, accuracy_level, cache);
    case Layout::gather:
      return rewrite_gather(editor, c, choice, cache);
    case Layout::qdq_blocks:
    case Layout::qdq_int8:
      return rewrite_qdq(editor, c, choice, cache);
    case Layout::dynamic:
      return rewrite_dynamic(editor, c, choice, cache);
    case Layout::gguf:
    case Layout::mlx:
      break;
  }
  return Error{Errc::unsupported, fmt::format("tensor '{}': no ONNX operator reads {}",
                                              c.slot.tensor, choice.encoding->name)};
}

}  // namespace phiquant::format
