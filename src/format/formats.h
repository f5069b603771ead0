// The formats that a model can become. A new one is a folder here and a row in formats.cc.
#pragma once

#include <span>
#include <string_view>

#include "decide/evidence.h"
#include "format/draft.h"
#include "model/checkpoint.h"
#include "phiquant/options.h"
#include "wire/gguf_model.h"
#include "wire/onnx_payload.h"

namespace phiquant {

struct Format {
  OutputFormat format;
  std::string_view name;       // as --format takes it
  std::string_view summary;    // one line for `phiquant list`
  std::string_view extension;  // of an output that is one file of this format; "": none
  bool has_tokenizer;          // a folder in which the runtime looks for the tokenizer's files
  Result<Draft> (*from_checkpoint)(const Checkpoint&, const Request&, const Evidence&);
  // Of a model of the same format, whose structure is kept; null: none.
  Result<Draft> (*from_gguf)(const GgufModel&, const Request&, const Evidence&) = nullptr;
  Result<Draft> (*from_onnx)(OnnxModel, const Request&, const Evidence&) = nullptr;
};

// The first one is that of checkpoints where none is asked for.
std::span<const Format> formats();
// `format` is not automatic.
const Format& format_info(OutputFormat format);
// What a checkpoint becomes: the format asked for, else the first, or a plain model where the
// target has no dynamic shapes.
const Format& checkpoint_format(const OutputSpec& output);

}  // namespace phiquant
