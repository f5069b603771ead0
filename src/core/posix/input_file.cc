#include "core/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/checked_math.h"
#include "core/posix/file.h"

namespace phiquant {
namespace {

class FileRange final : public ByteSource {
 public:
  FileRange(std::shared_ptr<const InputFile> file, uint64_t offset, uint64_t size_bytes)
      : file_(std::move(file)), offset_(offset), size_bytes_(size_bytes) {
    assert(range_inside(offset_, size_bytes_, file_->size_bytes()));
  }
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    assert(range_inside(offset, out.size(), size_bytes_));
    return file_->read(offset_ + offset, out);
  }

 private:
  std::shared_ptr<const InputFile> file_;
  uint64_t offset_, size_bytes_;
};

class Memory final : public ByteSource {
 public:
  explicit Memory(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size_bytes() const override { return bytes_.size(); }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    assert(range_inside(offset, out.size(), bytes_.size()));
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  std::string bytes_;
};

}  // namespace

struct InputFile::Mapping {
  std::once_flag once;
  void* address = MAP_FAILED;
  int error = 0;
};

Result<std::shared_ptr<const InputFile>> InputFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: a named pipe must be refused below, not waited for here. It means nothing to
  // regular files.
  Fd fd = open_fd(path, O_RDONLY | O_NONBLOCK);
  if (!fd) return io_error(path, "cannot open", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return io_error(path, "cannot stat", errno);
  if (!S_ISREG(info.st_mode))
    return Error{Errc::io,
                 fmt::format("{}: not a regular file: found a {}", path.string(),
                             S_ISDIR(info.st_mode) ? "folder" : "device, pipe or socket")};
  std::shared_ptr<InputFile> file(new InputFile);
  file->path_ = path;
  file->size_bytes_ = static_cast<uint64_t>(info.st_size);
  file->device_ = info.st_dev;
  file->inode_ = info.st_ino;
  file->mapping_ = std::make_shared<Mapping>();
  // Doubles the read-ahead window, a hint that may fail. Cached pages are left as they are: a file
  // that was warm before the run is warm after it.
  (void)::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  file->fd_ = fd.release();
  return std::shared_ptr<const InputFile>(std::move(file));
}

InputFile::~InputFile() {
  if (mapping_ && mapping_->address != MAP_FAILED) ::munmap(mapping_->address, size_bytes_);
  if (fd_ >= 0) ::close(fd_);
}

bool InputFile::same_file(const std::filesystem::path& other) const {
  struct stat info {};
  return ::stat(other.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_;
}

Result<void> InputFile::read(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  const int error = pread_all(fd_, out, offset, done);
  if (error != 0)
    return io_error(path_, fmt::format("cannot read at byte {}", offset + done), error);
  if (done < out.size())
    return Error{
        Errc::io,
        fmt::format(
            "{}: file ends at byte {}, had {} when it was opened (changed by another program?)",
            path_.string(), offset + done, size_bytes_)};
  return {};
}

Result<std::span<const std::byte>> InputFile::map() const {
  if (size_bytes_ == 0) return std::span<const std::byte>{};
  std::call_once(mapping_->once, [this] {
    mapping_->address = ::mmap(nullptr, size_bytes_, PROT_READ, MAP_PRIVATE, fd_, 0);
    if (mapping_->address == MAP_FAILED) mapping_->error = errno;
  });
  if (mapping_->address == MAP_FAILED) return io_error(path_, "cannot map", mapping_->error);
  return std::span<const std::byte>(static_cast<const std::byte*>(mapping_->address), size_bytes_);
}

void InputFile::drop_mapped_pages() const {
  // The mapping is of a file and never written: dropped pages come back from the page cache when
  // touched.
  if (mapping_->address != MAP_FAILED)
    (void)::madvise(mapping_->address, size_bytes_, MADV_DONTNEED);
}

std::shared_ptr<const ByteSource> file_range(std::shared_ptr<const InputFile> file, uint64_t offset,
                                             uint64_t size_bytes) {
  return std::make_shared<FileRange>(std::move(file), offset, size_bytes);
}

std::shared_ptr<const ByteSource> memory_source(std::string bytes) {
  return std::make_shared<Memory>(std::move(bytes));
}

}  // namespace phiquant
