// What input and output files share above the system's calls: an owned handle, and messages.
#pragma once

#include <cstdint>
#include <filesystem>
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
  // Returns 0 or the system's error, which can be that of a late write. The descriptor is gone
  // either way.
  int close();

 private:
  int fd_ = -1;
};

// "No space left on device", for an errno.
std::string errno_text(int error);

// Errc::io with "<path>: <what>: <the error's text>".
Error io_error(const std::filesystem::path& path, std::string_view what, int error);

// "1.5 GB (1500000000 bytes)": decimal units; only "812 bytes" below 1 kB.
std::string bytes_text(uint64_t bytes);

// Makes a rename in the folder survive a power cut. File systems that cannot do that are fine.
Result<void> sync_folder(const std::filesystem::path& folder);

}  // namespace phiquant
