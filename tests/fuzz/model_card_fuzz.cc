// Any bytes as a README.md: values that are no larger than the text, or one warning.
#include <string_view>

#include "fuzz/require.h"
#include "model/checkpoint/model_card.h"

namespace {

using namespace phiquant;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const ModelCard card = parse_model_card("f", text);
  for (const auto& warning : card.warnings) require(warning.starts_with("f: "), "it says where");
  if (!text.starts_with("---")) require(card.values.empty(), "values come from front matter");
  size_t n_bytes = 0;
  for (const auto& [key, entries] : card.values) {
    require(entries.size() <= 1000, "lists are bounded");
    n_bytes += key.size();
    for (const auto& entry : entries) {
      n_bytes += entry.text.size();
      for (const auto& [name, value] : entry.fields) n_bytes += name.size() + value.size();
    }
  }
  require(n_bytes <= 256 * 1024, "values are bounded");
  return 0;
}
