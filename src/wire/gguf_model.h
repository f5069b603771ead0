// An opened GGUF model: its metadata, and its tensors with the place of their bytes. One file, or
// all files of a split one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "wire/gguf.h"

namespace phiquant {

struct GgufTensor {
  std::string name;
  Shape shape;  // outermost first
  uint32_t type_id = 0;
  std::shared_ptr<const ByteSource> bytes;  // as stored
  // The same as float32, float16 or bfloat16: as stored where it is one of these, decoded where
  // the type is quantized; `floats.bytes` is null for types that nothing here decodes.
  SourceTensor floats;
  uint32_t file = 0;  // index into GgufModel::files
};

struct GgufModel {
  std::filesystem::path path;                // as given
  std::vector<std::filesystem::path> files;  // in the order of the parts
  uint32_t version = 0;
  std::vector<GgufKeyValue> metadata;  // of the first file, without what says how it was split
  std::vector<GgufTensor> tensors;     // file after file, in their order
  uint64_t input_bytes = 0;
};

// How a stored tensor is read as floats (fills GgufTensor::floats); given by whoever has kernels.
using GgufFloats = SourceTensor (*)(const GgufTensor&);

// Keys that say how a model was split over files.
constexpr std::string_view kGgufSplitNo = "split.no";                  // uint16, from 0
constexpr std::string_view kGgufSplitCount = "split.count";            // uint16
constexpr std::string_view kGgufSplitTensors = "split.tensors.count";  // int32, of all files

// "<prefix>-00001-of-00003.gguf": the name of part `no` (from 0) of `count`, as llama.cpp has it.
std::string gguf_split_name(std::string_view prefix, uint64_t no, uint64_t count);

}  // namespace phiquant
