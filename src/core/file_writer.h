// One output file of known size, written out of order by many threads.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>

#include "core/file.h"
#include "phiquant/error.h"

namespace phiquant {

// The unit of direct I/O: a multiple of every disk's logical block and the page size of x86 and
// most ARM.
constexpr uint64_t kDirectBlock = 4096;

// Long runs of whole blocks go to the disk directly, short ones through the page cache; the blocks
// at the edges of a range, which two writers may share, are gathered in memory and written through
// the page cache when their last byte arrives.
class FileWriter {
 public:
  // Creates `path` (which must not exist) and reserves `size_bytes`. `shown` is the path for
  // messages. Errors: io, also for no space (need and have) and for sizes that the file system
  // cannot hold.
  static Result<std::unique_ptr<FileWriter>> create(const std::filesystem::path& path,
                                                    const std::filesystem::path& shown,
                                                    uint64_t size_bytes, bool direct_io);
  // `direct` may be empty: then everything goes through the page cache. Both are open on the same
  // file.
  FileWriter(std::filesystem::path shown, Fd direct, Fd plain, uint64_t size_bytes);

  // See AtomicOutput::write_at.
  Result<void> write_at(uint64_t offset, std::span<const std::byte> bytes);
  // Writes what is still gathered (bytes never written are zeros), fsyncs, closes. Once, after all
  // writes.
  Result<void> finish();

 private:
  struct FreeBlock {
    void operator()(std::byte* p) const;
  };
  using Block = std::unique_ptr<std::byte, FreeBlock>;
  struct Edge {
    Block bytes;
    uint64_t n_filled = 0;
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<uint64_t, Edge> edges;  // by block number
  };

  uint64_t block_length(uint64_t block) const;  // 4096, less in the file's last block
  Result<void> gather(uint64_t offset, std::span<const std::byte> bytes);
  Result<void> write_blocks(uint64_t offset, std::span<const std::byte> bytes);
  Result<void> write_direct(uint64_t offset, std::span<const std::byte> aligned);
  Result<void> write_plain(uint64_t offset, std::span<const std::byte> bytes);

  std::filesystem::path shown_;
  Fd direct_, plain_;
  uint64_t size_bytes_;
  bool gathers_;  // opened for direct I/O; stays true after a fallback
  std::atomic<bool>
      direct_works_;  // cleared by the first write that the file system refuses as direct
  std::array<Shard, 16> shards_;
};

}  // namespace phiquant
