// Thin, checked wrappers over POSIX file calls, shared by the input and output files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "phiquant/error.h"

namespace phiquant {

// An owned file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { close(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  // Returns 0 or the errno of close(2), which can carry a late write error. The descriptor is gone
  // either way.
  int close();

 private:
  int fd_ = -1;
};

// Open(2) with O_CLOEXEC, restarted on EINTR; an empty Fd and errno on failure.
Fd open_fd(const std::filesystem::path& path, int flags, unsigned mode = 0);

// "No space left on device", for an errno.
std::string errno_text(int error);

// Errc::io with "<path>: <what>: <errno text>".
Error io_error(const std::filesystem::path& path, std::string_view what, int error);

// "1.5 GB (1500000000 bytes)": decimal units; only "812 bytes" below 1 kB.
std::string bytes_text(uint64_t bytes);

// pread(2) until `out` is full, restarted on EINTR. `done` counts what arrived; returns 0 or errno;
// a premature end of the file is 0 with done < out.size().
int pread_all(int fd, std::span<std::byte> out, uint64_t offset, size_t& done);

// pwrite(2) until all is written, short writes continued and EINTR restarted. `done` counts what
// went out; returns 0 or errno.
int pwrite_all(int fd, std::span<const std::byte> bytes, uint64_t offset, size_t& done);

// fsync of a folder, so that a rename in it survives a power cut. File systems that cannot do that
// are fine.
Result<void> sync_folder(const std::filesystem::path& folder);

}  // namespace phiquant
