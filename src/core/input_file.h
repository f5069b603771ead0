// Read-only files: positioned reads for tensor data, a mapping for headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "core/tensor.h"
#include "phiquant/error.h"

namespace phiquant {

// An open regular file. Immutable; every method may be called from any thread.
class InputFile {
 public:
  // Errors: io (missing, not a regular file, no permission), naming the path.
  static Result<std::shared_ptr<const InputFile>> open(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }
  // True if both are the same inode.
  bool same_file(const std::filesystem::path& other) const;
  // pread until `out` is full; a file that became shorter is an io error with the offset.
  Result<void> read(uint64_t offset, std::span<std::byte> out) const;
  // The whole file, mapped on first use (headers and protobuf structure only: tensor data is
  // read()).
  Result<std::span<const std::byte>> map() const;
  // Lets the kernel drop the mapping's resident pages.
  void drop_mapped_pages() const;

 private:
  InputFile() = default;
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
  uint64_t device_ = 0, inode_ = 0;
  struct Mapping;
  std::shared_ptr<Mapping> mapping_;
};

// A range of an open file. `offset + size_bytes` is inside the file (the reader checked).
std::shared_ptr<const ByteSource> file_range(std::shared_ptr<const InputFile> file, uint64_t offset,
                                             uint64_t size_bytes);
// Bytes in memory.
std::shared_ptr<const ByteSource> memory_source(std::string bytes);

}  // namespace phiquant
