// Importance matrices of llama-imatrix: for each weight the mean square of every column of its
// input. Two formats: GGUF (sums and counts as tensors), and the older one of plain records.
// Source: llama.cpp's common/imatrix-loader.cpp and tools/quantize/quantize.cpp.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "phiquant/error.h"

namespace phiquant {

struct Imatrix {
  // By the weight's name in GGUF. [columns], or [experts * columns] for a stack of experts.
  std::map<std::string, std::shared_ptr<const std::vector<float>>, std::less<>> entries;
  std::string dataset;   // the first one; "" where the file names none
  int64_t n_chunks = 0;  // of text that it was made from; 0: not known
};

// Errors: io · corrupt (names the entry: truncated, sums without counts, a size that the counts do
// not divide, no entries, a value that is negative or not finite).
Result<Imatrix> read_imatrix(const std::filesystem::path& path);
// The same of a file's bytes; `where`: its name, for messages.
Result<Imatrix> parse_imatrix(std::string_view where, std::span<const std::byte> file);

}  // namespace phiquant
