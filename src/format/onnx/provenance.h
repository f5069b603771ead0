// What the output says about its making.
#pragma once

#include <string>

#include "format/onnx/edit.h"

namespace phiquant::format {

// Stamps producer name and version (the input's own goes to the metadata) and records the request
// in metadata_props: no dates, no paths. block_size 0: none.
void add_provenance(Editor& editor, const std::string& scheme, uint32_t block_size,
                    std::optional<bool> symmetric);

// Removes value infos of values that the rewrite removed.
void drop_stale_value_infos(Editor& editor);

}  // namespace phiquant::format
