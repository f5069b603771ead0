// Files of an output folder beside its weights.
#pragma once

#include <string>

#include "format/plan.h"
#include "model/checkpoint.h"
#include "phiquant/error.h"

namespace phiquant::format {

void add_text_file(Plan& plan, std::string name, std::string text);

// The checkpoint's tokenizer, template and licence files, byte for byte; not those of a name that
// the plan has already. Errors: io (a file that cannot be opened).
Result<void> add_sidecars(Plan& plan, const Checkpoint& checkpoint);

}  // namespace phiquant::format
