// Jobs of a GGUF output, and the places of header and tensors in its file or files.
#pragma once

#include <vector>

#include "format/gguf/weights.h"
#include "format/plan.h"
#include "phiquant/error.h"
#include "phiquant/options.h"

namespace phiquant {

// A tensor of the output, with the job that makes it.
struct GgufOutTensor {
  std::string name;
  Shape shape;
  GgmlType type = kGgmlF32;
  Job job;      // its TensorIds are filled in by lay_out_gguf
  PlanRow row;  // likewise, its job and bytes_after
};

// Fills files, tensors, jobs and rows of the plan. Without options.output.max_file_size one file;
// else parts named after the output folder, cut where the tensors of one would pass the size
// (llama-gguf-split's rule), with all metadata in the first. Errors: usage (the output's name; a
// part that would be larger than wanted because one tensor is).
Result<void> lay_out_gguf(Plan& plan, std::vector<GgufKeyValue> metadata,
                          std::vector<GgufOutTensor> tensors, const Request& options);

}  // namespace phiquant
