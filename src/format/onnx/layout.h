// Places every tensor of the finished graph and serializes it.
#pragma once

#include "format/onnx/edit.h"

namespace phiquant::format {

// Adds the jobs for tensors that are copied, cast or decoded, fixes every offset and fills
// Plan::files. `rule` is what casts do. Rows get the jobs of their tensors where they have none.
// Errors: usage (a single .onnx file that would pass 2 GiB).
Result<void> lay_out(Editor& editor, CastRule rule);

}  // namespace phiquant::format
