#include "decide/choice.h"

namespace phiquant {

std::string action_of(const Choice& c) {
  if (!c.encoding) return "keep";
  switch (c.encoding->layout) {
    case Layout::nbits:
    case Layout::gather:
    case Layout::qdq_blocks: {
      const Scheme* kernel = block_kernel(*c.encoding, *c.method);
      return std::string(kernel ? kernel->name : c.method->name);
    }
    case Layout::qdq_int8:
      return c.params.per_channel ? "qdq_channel" : "qdq_tensor";
    case Layout::dynamic:
      return c.params.per_channel ? "dynamic_channel" : "dynamic";
    case Layout::gguf:
    case Layout::mlx:
      break;
  }
  return std::string(c.encoding->name);
}

}  // namespace phiquant
