// Which type each tensor of a GGUF file gets: the file types ("mixes") of llama-quantize. Source:
// llama.cpp's src/llama-quant.cpp, release b11434 (llama_tensor_get_type and what it calls),
// for the file types of the table and the tensors that Phi models have.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "phiquant/convert.h"
#include "phiquant/error.h"
#include "phiquant/tensor.h"
#include "wire/gguf_types.h"

namespace phiquant {

struct GgufFileType {
  std::string_view name;     // as --scheme takes it
  std::string_view summary;  // one line for `phiquant list`
  uint32_t id;               // general.file_type
  GgmlType base;             // of tensors that no rule moves
  Precision nearest;         // what the report calls it
  bool is_default;           // what --precision alone chooses
};

// The table, in the order of `phiquant list`.
std::span<const GgufFileType> gguf_file_types();
// By name, letters of any case; nullptr where unknown.
const GgufFileType* find_gguf_file_type(std::string_view name);
const GgufFileType& default_gguf_file_type(Precision precision);

// What the rules ask about a model.
struct GgufMixModel {
  uint32_t n_layers = 0, n_heads = 0, n_kv_heads = 0, n_experts = 0;
};
struct GgufMixTensor {
  std::string name;
  Shape shape;  // outermost first
  GgmlType stored = kGgmlF32;
};
struct GgufMixOptions {
  const GgufFileType* file_type = nullptr;
  bool pure = false, has_imatrix = false;
  std::optional<GgmlType> token_embedding, output;
  std::vector<std::pair<std::string, GgmlType>> overrides;  // glob and type; the first match wins
};

struct GgufChoice {
  GgmlType type = kGgmlF32;
  bool quantizable = false;  // false: kept in the type it has
  std::string reason;        // why not the file type's base; "" if nothing to say
};

// Whether llama-quantize may touch the tensor: 2-D and 3-D weights but norms and routers.
bool gguf_quantizable(const GgufMixTensor& tensor);

// One choice for each tensor. `tensors` are in the order of the file (see gguf_order): the rules
// count layers as they pass. Errors: usage (an override that matches nothing, or whose type does
// not fit the rows and has no fallback; a type that cannot be written).
Result<std::vector<GgufChoice>> choose_gguf_types(const GgufMixModel& model,
                                                  const GgufMixOptions& options,
                                                  const std::vector<GgufMixTensor>& tensors);

// The order of tensors in files of llama-quantize: those outside the blocks, then block by block,
// each by name.
bool gguf_order(std::string_view a, std::string_view b);

// A type that a tensor can be written in: a float, or one with a row scheme. Error usage: `what`
// names the option.
Result<GgmlType> writable_gguf_type(std::string_view what, std::string_view name);

}  // namespace phiquant
