#include "core/file_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/atomic_output.h"
#include "core/checked_math.h"
#include "core/posix/file.h"

namespace phiquant {
namespace {

constexpr auto kAlignment = std::align_val_t{kDirectBlock};
// Direct writes of 1 MB and of 16 MB cost the same; 256 kB cost twice the CPU time.
constexpr size_t kStagingBytes = size_t{1} << 20;
// Below this a direct write, which waits for the disk, costs more than a copy into the page cache.
constexpr size_t kMinDirectBytes = size_t{32} << 10;

// An io error of a write, with need and have where the disk is full.
Error write_error(const std::filesystem::path& shown, std::string_view what, int error, int fd,
                  uint64_t size_bytes) {
  if (error != ENOSPC && error != EDQUOT) return io_error(shown, what, error);
  std::string have;
  struct statvfs info {};
  if (::fstatvfs(fd, &info) == 0)
    have = fmt::format(", file system has {} free",
                       bytes_text(uint64_t{info.f_bavail} * info.f_frsize));
  return Error{Errc::io, fmt::format("{}: {}: {}: file needs {}{}", shown.string(), what,
                                     errno_text(error), bytes_text(size_bytes), have)};
}

// Reserves the blocks, so that a full disk shows now and not after an hour. Returns 0 or errno.
int reserve(int fd, uint64_t size_bytes) {
  if (size_bytes == 0) return 0;
  int error = 0;
  do error = ::fallocate(fd, 0, 0, static_cast<off_t>(size_bytes)) == 0 ? 0 : errno;
  while (error == EINTR);
  if (error == EOPNOTSUPP || error == ENOSYS || error == EINVAL)
    error = ::ftruncate(fd, static_cast<off_t>(size_bytes)) == 0 ? 0 : errno;
  return error;
}

}  // namespace

void FileWriter::FreeBlock::operator()(std::byte* p) const { ::operator delete(p, kAlignment); }

Result<std::unique_ptr<FileWriter>> FileWriter::create(const std::filesystem::path& path,
                                                       const std::filesystem::path& shown,
                                                       uint64_t size_bytes, bool direct_io) {
  Fd plain = open_fd(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
  if (!plain) return io_error(shown, "cannot create", errno);
  if (const int error = reserve(plain.get(), size_bytes); error != 0)
    return write_error(shown, fmt::format("cannot reserve {}", bytes_text(size_bytes)), error,
                       plain.get(), size_bytes);
  // A file system without direct I/O refuses here (EINVAL), or at the first write: then the page
  // cache serves.
  Fd direct;
  if (direct_io && size_bytes >= kDirectBlock) direct = open_fd(path, O_WRONLY | O_DIRECT);
  return std::make_unique<FileWriter>(shown, std::move(direct), std::move(plain), size_bytes);
}

FileWriter::FileWriter(std::filesystem::path shown, Fd direct, Fd plain, uint64_t size_bytes)
    : shown_(std::move(shown)),
      direct_(std::move(direct)),
      plain_(std::move(plain)),
      size_bytes_(size_bytes),
      gathers_(direct_),
      direct_works_(static_cast<bool>(direct_)) {}

uint64_t FileWriter::block_length(uint64_t block) const {
  return std::min(kDirectBlock, size_bytes_ - block * kDirectBlock);
}

Result<void> FileWriter::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  assert(range_inside(offset, bytes.size(), size_bytes_));
  if (bytes.empty()) return {};
  if (!gathers_) return write_plain(offset, bytes);
  const uint64_t head =
      std::min<uint64_t>((kDirectBlock - offset % kDirectBlock) % kDirectBlock, bytes.size());
  const uint64_t body = (bytes.size() - head) / kDirectBlock * kDirectBlock;
  PHIQUANT_TRY(gather(offset, bytes.first(head)));
  PHIQUANT_TRY(write_blocks(offset + head, bytes.subspan(head, body)));
  return gather(offset + head + body, bytes.subspan(head + body));
}

// `bytes` lie in one block.
Result<void> FileWriter::gather(uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  const uint64_t block = offset / kDirectBlock;
  Shard& shard = shards_[block % shards_.size()];
  Edge complete;
  {
    const std::lock_guard lock(shard.mutex);
    Edge& edge = shard.edges[block];
    if (!edge.bytes) {
      edge.bytes.reset(static_cast<std::byte*>(::operator new(kDirectBlock, kAlignment)));
      std::memset(edge.bytes.get(), 0, kDirectBlock);
    }
    std::memcpy(edge.bytes.get() + offset % kDirectBlock, bytes.data(), bytes.size());
    edge.n_filled += bytes.size();
    assert(edge.n_filled <= block_length(block));
    if (edge.n_filled < block_length(block)) return {};
    complete = std::move(edge);
    shard.edges.erase(block);
  }
  return write_plain(block * kDirectBlock, {complete.bytes.get(), block_length(block)});
}

// Whole blocks.
Result<void> FileWriter::write_blocks(uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  if (bytes.size() < kMinDirectBytes || !direct_works_.load(std::memory_order_relaxed))
    return write_plain(offset, bytes);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % kDirectBlock == 0)
    return write_direct(offset, bytes);
  thread_local AlignedBuffer staging;
  std::byte* const copy = staging.resize(kStagingBytes);
  for (size_t done = 0; done < bytes.size();) {
    const size_t n = std::min(kStagingBytes, bytes.size() - done);
    std::memcpy(copy, bytes.data() + done, n);
    PHIQUANT_TRY(write_direct(offset + done, {copy, n}));
    done += n;
  }
  return {};
}

Result<void> FileWriter::write_direct(uint64_t offset, std::span<const std::byte> aligned) {
  size_t done = 0;
  const int error = pwrite_all(direct_.get(), aligned, offset, done);
  if (error == 0) return {};
  if (error != EINVAL)
    return write_error(shown_, fmt::format("cannot write at byte {}", offset + done), error,
                       plain_.get(), size_bytes_);
  // The file system accepts the flag but not the write (or a short write lost the alignment).
  direct_works_.store(false, std::memory_order_relaxed);
  return write_plain(offset + done, aligned.subspan(done));
}

Result<void> FileWriter::write_plain(uint64_t offset, std::span<const std::byte> bytes) {
  size_t done = 0;
  const int error = pwrite_all(plain_.get(), bytes, offset, done);
  if (error == 0) return {};
  return write_error(shown_, fmt::format("cannot write at byte {}", offset + done), error,
                     plain_.get(), size_bytes_);
}

Result<void> FileWriter::finish() {
  for (Shard& shard : shards_) {
    for (const auto& [block, edge] : shard.edges)
      PHIQUANT_TRY(write_plain(block * kDirectBlock, {edge.bytes.get(), block_length(block)}));
    shard.edges.clear();
  }
  if (::fsync(plain_.get()) != 0)
    return write_error(shown_, "fsync failed", errno, plain_.get(), size_bytes_);
  if (const int error = direct_.close(); error != 0) return io_error(shown_, "close failed", error);
  if (const int error = plain_.close(); error != 0) return io_error(shown_, "close failed", error);
  return {};
}

}  // namespace phiquant
