// Reads the header of a safetensors file; the tensors' bytes are not touched.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/input_file.h"
#include "core/tensor.h"
#include "phiquant/error.h"

namespace phiquant {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::undefined;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes of the file (not of its data part)
};

constexpr size_t kSafetensorsMaxTensors = 1'000'000;
constexpr size_t kSafetensorsMaxDims = 16;

// `json`: the header's text; `data_begin`: file offset of the first byte behind it; `file_bytes`:
// the file's size. Returns the tensors in file order; names are unique, end - begin is what dtype
// and shape need, and the tensors fill [data_begin, file_bytes) without gaps and overlaps. Errors:
// corrupt (names the tensor), unsupported (dtype; more than the caps above).
Result<std::vector<SafetensorsEntry>> parse_safetensors_header(std::string_view where,
                                                               std::string_view json,
                                                               uint64_t data_begin,
                                                               uint64_t file_bytes);

// The same of an open file. Further errors: io; corrupt (a Git LFS pointer, a pickle, an HTML page,
// a header longer than the file or than the format allows).
Result<std::vector<SafetensorsEntry>> read_safetensors_header(const InputFile& file);

}  // namespace phiquant
