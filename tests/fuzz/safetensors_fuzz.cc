// Any bytes as a safetensors file: refused, or tensors that tile the data exactly.
#include <set>
#include <string>
#include <string_view>

#include "fuzz/require.h"
#include "model/checkpoint/safetensors.h"

// The first byte says how much data the file pretends to have; the rest is the header's text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view json(reinterpret_cast<const char*>(data) + 1, size - 1);
  const uint64_t begin = 8 + json.size(), n_data = data[0];
  const auto entries = phiquant::parse_safetensors_header("f", json, begin, begin + n_data);
  if (!entries) {
    phiquant::require(!entries.error().message.empty(), "errors say something");
    return 0;
  }
  uint64_t at = begin;
  std::set<std::string> names;
  for (const auto& e : *entries) {
    phiquant::require(e.begin == at && e.end >= at, "tensors follow each other");
    phiquant::require(phiquant::tensor_bytes(e.dtype, e.shape) == e.end - e.begin,
                      "ranges have the bytes of their shapes");
    phiquant::require(names.insert(e.name).second, "names are unique");
    at = e.end;
  }
  phiquant::require(at == begin + n_data, "tensors fill the data");
  return 0;
}
