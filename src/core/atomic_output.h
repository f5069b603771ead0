// Output that appears whole or not at all: a file, or a folder of files.
//
//   open sibling temporary -> reserve exact sizes -> write_at from any thread -> fsync -> rename ->
//   fsync folder
//
// Destroyed without commit(), the temporary is removed and the old output still stands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "phiquant/error.h"

namespace phiquant {

struct OutputFileSpec {
  std::string relative_path;  // "" when the output is a single file
  uint64_t size_bytes = 0;
};

class AtomicOutput {
 public:
  struct Options {
    bool is_directory = true;
    bool force = false;     // replace an existing output
    bool direct_io = true;  // O_DIRECT where the file system allows; otherwise the page cache
  };
  // Checks, creates the temporary beside `target` (with missing parent folders, removed again when
  // abandoned) and reserves every file's exact size. A temporary that a killed run left for the
  // same target is removed first. A single file has one spec, whose relative_path is "". What no
  // write covers reads as zeros. Errors: usage (output exists without force; is a folder where a
  // file is wanted or the reverse; with force: a folder that holds none of `files` and so is no
  // earlier output, a mount point, the working folder) · io (parent not a folder or not writable;
  // not enough space, with need and have; file size limit).
  static Result<std::unique_ptr<AtomicOutput>> create(const std::filesystem::path& target,
                                                      const std::vector<OutputFileSpec>& files,
                                                      const Options& options);
  virtual ~AtomicOutput() = default;

  // Writes bytes to file `index` at `offset`. Any thread, any order; ranges must not overlap. Runs
  // of 32 kB and more of whole 4096-byte blocks go straight to the disk from an aligned buffer (1
  // MB and more are best); block edges shared by neighbouring ranges are gathered in memory until
  // complete (at most two blocks a call stay behind). `bytes` needs no alignment, but is not copied
  // where (address - offset) % 4096 == 0 (see AlignedBuffer). Error io names file and byte;
  // commit() then refuses.
  virtual Result<void> write_at(uint32_t index, uint64_t offset,
                                std::span<const std::byte> bytes) = 0;

  // Flushes, fsyncs and renames; call it once, after the last write_at has returned. After an error
  // the old output still stands. Errors: io · usage (without force: the output appeared while this
  // ran).
  virtual Result<void> commit() = 0;
};

// Free bytes of the file system that would hold `target` (its nearest existing parent); nullopt
// where unknown.
std::optional<uint64_t> free_disk_bytes(const std::filesystem::path& target);

// Whether `path` is `folder` or lies inside it, links resolved: replacing that folder would delete
// `path`.
bool path_is_within(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace phiquant
