// The formats that a checkpoint can become. A new one is a planner and a row here.
#pragma once

#include <span>
#include <string_view>

#include "format/onnx_format.h"
#include "phiquant/convert.h"
#include "phiquant/model.h"

namespace phiquant {

struct CheckpointFormat {
  OutputFormat format;
  std::string_view name;     // as --format takes it
  std::string_view summary;  // one line for `phiquant list`
  Result<Plan> (*plan)(const Checkpoint&, const QuantizeOptions&, const OnnxPlanExtras&);
};

std::span<const CheckpointFormat> checkpoint_formats();
// `automatic` is the first row.
const CheckpointFormat& checkpoint_format(OutputFormat format);

}  // namespace phiquant
