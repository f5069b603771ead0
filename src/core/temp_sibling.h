// Names, locks and renames of the temporaries that stand beside an output until it is complete.
//
//   .<name>.phiquant-<16 hex digits>       an output in the making, locked (flock) by its live run
//   .<name>.phiquant-old-<16 hex digits>   an old output, moved aside for the instant between two
//   renames
//
// A name without a lock belongs to a run that was killed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "phiquant/error.h"

namespace phiquant {

// The temporary folder of this run; the lock is held while the object lives.
struct TempSibling {
  std::filesystem::path path;
  Fd lock;
};

// Creates an empty, locked folder beside `target`, whose parent exists. It becomes the output, or
// holds the single file that does.
Result<TempSibling> create_temp_sibling(const std::filesystem::path& target);

// Removes what killed runs left for `target`; if one died between moving the old output aside and
// moving the new one in, the old output is put back. Temporaries of live runs stay. Never fails:
// what cannot go stays.
void clean_stale_siblings(const std::filesystem::path& target);

struct ReplaceOptions {
  bool force = false;        // replace what stands at the target
  bool may_exchange = true;  // use the atomic exchange of renameat2; else two renames
};
// Moves `from` to `target` on the same file system. Returns the path that now holds the old folder,
// to be deleted last. Errors: usage (without force: the target exists) · io; then the old output
// stands at the target.
Result<std::optional<std::filesystem::path>> move_into_place(const std::filesystem::path& from,
                                                             const std::filesystem::path& target,
                                                             const ReplaceOptions& options);

// Creates the missing folders of `folder`'s path, outermost first, and returns them. On error none
// stays.
Result<std::vector<std::filesystem::path>> create_folders(const std::filesystem::path& folder);
// Removes those of `folders` that are empty, innermost first.
void remove_empty_folders(const std::vector<std::filesystem::path>& folders);

}  // namespace phiquant
