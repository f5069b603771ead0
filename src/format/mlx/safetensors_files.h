// Lays a plan's tensors out in safetensors files.
#pragma once

#include <cstdint>
#include <string>

#include "format/plan.h"

namespace phiquant::format {

// Every tensor of `plan`, in order, into model.safetensors or, where a file would grow beyond
// `max_bytes` of tensors, into model-00001-of-0000N.safetensors and so on (a tensor is never
// split); then model.safetensors.index.json with `total_parameters`. Files are added to the plan;
// headers carry {"format": "mlx"}. The order, the limit's meaning and the index are mlx_lm's
// (utils.py, make_shards and save_model).
void lay_out_safetensors(Plan& plan, uint64_t max_bytes, uint64_t total_parameters);

}  // namespace phiquant::format
