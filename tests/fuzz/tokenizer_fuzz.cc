// Tokenizer files: the bytes as a sentencepiece model and as a tokenizer.json.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/tokenizer/sentencepiece.h"
#include "model/tokenizer/tokenizer_tree.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto model = phiquant::read_sentencepiece("fuzz", bytes); model)
    for (const auto& piece : model->pieces)
      if (piece.text.empty()) __builtin_trap();
  if (const auto tree = phiquant::read_tokenizer_tree("fuzz", bytes); tree)
    for (const auto& merge : tree->merges)
      if (merge.find(' ') == std::string_view::npos) __builtin_trap();
  return 0;
}
