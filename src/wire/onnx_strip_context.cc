#include "wire/onnx_strip_context.h"
#include "core/text.h"

#include <utility>

#include <fmt/core.h>

#include "wire/onnx_payload.h"

namespace phiquant {

StripContext::StripContext(std::string file, Bytes bytes)
    : file_(std::move(file)),
      base_(bytes.data()),
      structure_left_(kMaxStructureBytes),
      decoded_left_(kMaxDecodedBytes) {}

std::string StripContext::path() const {
  // Of a deep nest both ends tell enough.
  constexpr size_t kEnd = 6;
  std::string out;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const bool skip = i == kEnd && steps_.size() > 2 * kEnd;
    if (skip) i = steps_.size() - kEnd;
    if (i > 0) out += skip ? " ... " : ".";
    out += steps_[i].field->name;
    if (steps_[i].field->repeated) out += fmt::format("[{}]", steps_[i].index);
  }
  return out.empty() ? "model" : out;
}

Error StripContext::error(Errc code, const std::byte* where, const std::string& what,
                          std::string_view name) const {
  const std::string quoted = name.empty() ? std::string() : fmt::format(" '{}'", printable(name));
  return {code, fmt::format("{}: {}{}: {} (byte {})", file_, path(), quoted, what, where - base_)};
}

Error StripContext::structure_too_big(const std::byte* where) const {
  return error(Errc::unsupported, where,
               fmt::format("the model's structure without weights needs more than {} MiB of memory",
                           kMaxStructureBytes >> 20));
}

}  // namespace phiquant
