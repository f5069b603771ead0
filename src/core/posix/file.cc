#include "core/posix/file.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>

namespace phiquant {

int Fd::close() {
  if (fd_ < 0) return 0;
  // Linux frees the descriptor even where close is interrupted: closing again could hit another
  // thread's file.
  const int error = ::close(std::exchange(fd_, -1)) == 0 ? 0 : errno;
  return error == EINTR ? 0 : error;
}

Fd open_fd(const std::filesystem::path& path, int flags, unsigned mode) {
  int fd = -1;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return Fd(fd);
}

int pread_all(int fd, std::span<std::byte> out, uint64_t offset, size_t& done) {
  for (done = 0; done < out.size();) {
    const ssize_t n =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return 0;
    done += static_cast<size_t>(n);
  }
  return 0;
}

int pwrite_all(int fd, std::span<const std::byte> bytes, uint64_t offset, size_t& done) {
  for (done = 0; done < bytes.size();) {
    const ssize_t n =
        ::pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return EIO;  // a regular file never takes nothing: do not spin
    done += static_cast<size_t>(n);
  }
  return 0;
}

Result<void> sync_folder(const std::filesystem::path& folder) {
  const Fd fd = open_fd(folder, O_RDONLY | O_DIRECTORY);
  if (!fd) return io_error(folder, "cannot open the folder", errno);
  if (::fsync(fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EBADF &&
      errno != EROFS)
    return io_error(folder, "fsync of the folder failed", errno);
  return {};
}

}  // namespace phiquant
