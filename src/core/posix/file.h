// Thin, checked wrappers over POSIX file calls, shared by the files of this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include "core/file.h"

namespace phiquant {

// Open(2) with O_CLOEXEC, restarted on EINTR; an empty Fd and errno on failure.
Fd open_fd(const std::filesystem::path& path, int flags, unsigned mode = 0);

// pread(2) until `out` is full, restarted on EINTR. `done` counts what arrived; returns 0 or errno;
// a premature end of the file is 0 with done < out.size().
int pread_all(int fd, std::span<std::byte> out, uint64_t offset, size_t& done);

// pwrite(2) until all is written, short writes continued and EINTR restarted. `done` counts what
// went out; returns 0 or errno.
int pwrite_all(int fd, std::span<const std::byte> bytes, uint64_t offset, size_t& done);

}  // namespace phiquant
