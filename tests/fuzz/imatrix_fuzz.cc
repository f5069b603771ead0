// Any bytes as an importance matrix, GGUF or the older format: refused, or entries of finite
// numbers that are the same when they are written as records of the older format.
#include <cmath>
#include <span>
#include <string>

#include "fuzz/require.h"
#include "wire/imatrix.h"

namespace {

using namespace phiquant;

std::string number(size_t n) {
  const auto value = static_cast<int32_t>(n);
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string records(const Imatrix& m) {
  std::string out = number(m.entries.size());
  for (const auto& [name, values] : m.entries) {
    out += number(name.size()) + name + number(0) + number(values->size());
    out.append(reinterpret_cast<const char*>(values->data()), values->size() * sizeof(float));
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto imatrix = parse_imatrix("f", std::as_bytes(std::span(data, size)));
  if (!imatrix) {
    require(imatrix.error().message.starts_with("f: "), "errors say where");
    return 0;
  }
  require(!imatrix->entries.empty(), "there are entries");
  for (const auto& [name, values] : imatrix->entries) {
    require(!values->empty(), "entries have values");
    require(values->size() * sizeof(float) <= size, "values come from the file");
    for (const float v : *values) require(std::isfinite(v) && v >= 0, "values are usable");
  }
  const std::string written = records(*imatrix);
  const auto again = parse_imatrix("again", std::as_bytes(std::span(written)));
  require(again.has_value(), "what is written can be read");
  require(records(*again) == written, "it is written as before");
  return 0;
}
