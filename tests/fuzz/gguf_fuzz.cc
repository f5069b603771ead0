// Any bytes as a GGUF file: refused, or tensors inside the file that keep apart from each other; a
// header that was read can be written and read again.
#include <cstdlib>
#include <map>
#include <span>
#include <string>

#include <fmt/core.h>

#include "wire/gguf_header.h"

namespace {

void require(bool ok, const char* what) {
  if (ok) return;
  fmt::print(stderr, "invariant broken: {}\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  auto header = phiquant::parse_gguf_header("f", file);
  if (!header) {
    require(!header.error().message.empty(), "errors say something");
    return 0;
  }
  std::map<uint64_t, uint64_t> places;
  for (const auto& t : header->tensors) {
    require(header->data_begin <= size && t.offset <= size - header->data_begin &&
                t.size_bytes <= size - header->data_begin - t.offset,
            "tensors are inside the file");
    require(places.emplace(t.offset, t.offset + t.size_bytes).second, "places are different");
  }
  uint64_t end = 0;
  for (const auto& [from, to] : places) {
    require(from >= end, "tensors keep apart");
    end = to;
  }
  const std::string text = phiquant::serialize_gguf_header(*header);
  const auto again =
      phiquant::parse_gguf_header("g", std::as_bytes(std::span(text + std::string(end, '\0'))));
  require(again.has_value(), "what was read can be written");
  return 0;
}
