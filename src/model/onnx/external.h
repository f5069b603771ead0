// Finds the external data files of a model and checks every tensor's range in them.
#pragma once

#include <filesystem>

#include "phiquant/error.h"
#include "wire/onnx_payload.h"

namespace phiquant {

// Whether `file` may be opened on behalf of a model in `folder`: its real path lies inside the
// folder's, or both are of one Hugging Face cache repository (<repo>/snapshots/<revision>/... and
// <repo>/blobs/<hash>). Both exist. Layout: huggingface_hub, "Understand caching".
Result<bool> stays_with_model(const std::filesystem::path& folder,
                              const std::filesystem::path& file);

// Fills source.bytes of every external payload and adds the files to the model.
// Errors: corrupt (location missing, absolute or climbing out; range beyond the file; length and
// shape disagree), io (file missing or unreadable), unsupported (a symbolic link that leaves the
// folder).
Result<void> resolve_external(StrippedModel& stripped, bool follow_symlinks);

}  // namespace phiquant
