// Everything that can refuse an output before anything is created.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/atomic_output.h"
#include "phiquant/error.h"

namespace phiquant {

// Where `target` really is: absolute, links of existing parts resolved, no "." or "..", no trailing
// slash. Error usage where that is the root folder or empty.
Result<std::filesystem::path> resolve_target(const std::filesystem::path& target);

// The nearest folder on the way to `path` that exists (or the file that stands in the way).
std::filesystem::path nearest_existing(std::filesystem::path path);

// What stands at `resolved` may be replaced, or nothing stands there. `shown` is the path for
// messages.
Result<void> check_target(const std::filesystem::path& resolved, const std::filesystem::path& shown,
                          const std::vector<OutputFileSpec>& files,
                          const AtomicOutput::Options& options);

// The nearest existing parent is a folder that can be written to.
Result<void> check_parent(const std::filesystem::path& resolved);

// The file system has room for `files`, and this process may write files that large.
Result<void> check_space(const std::filesystem::path& resolved, const std::filesystem::path& shown,
                         const std::vector<OutputFileSpec>& files);

}  // namespace phiquant
