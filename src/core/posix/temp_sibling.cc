#include "core/temp_sibling.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <system_error>

#include "core/posix/file.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHexDigits = 16;
constexpr std::string_view kOld = "old-";

// ".<name>.phiquant-". A name is at most 255 bytes: of a long one the start and a hash (FNV-1a) are
// kept.
std::string prefix_of(const fs::path& target) {
  std::string name = target.filename().string();
  if (name.size() > 200) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    name = fmt::format("{}-{:016x}", name.substr(0, 180), hash);
  }
  return "." + name + ".phiquant-";
}

// A path beside `target` that nobody uses. The random digits never reach an output's bytes.
fs::path random_sibling(const fs::path& target, std::string_view kind) {
  uint64_t bits = 0;
  while (::getrandom(&bits, sizeof bits, 0) != static_cast<ssize_t>(sizeof bits)) {
  }
  return target.parent_path() / fmt::format("{}{}{:016x}", prefix_of(target), kind, bits);
}

bool is_hex(std::string_view text) {
  return text.size() == kHexDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

enum class LockState { taken, held_by_other, impossible };

LockState try_lock(int fd) {
  int error = 0;
  do error = ::flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  while (error == EINTR);
  if (error == 0) return LockState::taken;
  return error == EWOULDBLOCK ? LockState::held_by_other : LockState::impossible;
}

bool is_same(int fd, const fs::path& path) {
  struct stat a {
  }, b{};
  return ::fstat(fd, &a) == 0 && ::lstat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

bool is_there(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

// rename without replacing. Returns 0 or errno.
int rename_new(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (is_there(to)) return EEXIST;  // a file system without the flag: a race of an instant remains
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

bool is_folder(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

Result<TempSibling> create_temp_sibling(const fs::path& target) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    TempSibling temp;
    temp.path = random_sibling(target, "");
    if (::mkdir(temp.path.c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;
      return io_error(target.parent_path(), "cannot create a temporary folder", errno);
    }
    temp.lock = open_fd(temp.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    // Another run may take the new name for a stale one before it is locked: then start afresh.
    // Where the file system has no locks, nobody else can take one either, and nothing is ever
    // called stale.
    if (temp.lock && try_lock(temp.lock.get()) != LockState::held_by_other &&
        is_same(temp.lock.get(), temp.path))
      return temp;
    ::rmdir(temp.path.c_str());
  }
  return Error{Errc::io,
               fmt::format("{}: cannot create a temporary folder: every attempt was disturbed",
                           target.parent_path().string())};
}

void clean_stale_siblings(const fs::path& target) {
  const std::string prefix = prefix_of(target);
  std::error_code ignored;
  std::vector<fs::path> in_the_making, moved_aside;
  for (fs::directory_iterator it(target.parent_path(), ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    const std::string_view rest = std::string_view(name).substr(prefix.size());
    if (is_hex(rest)) in_the_making.push_back(it->path());
    if (rest.starts_with(kOld) && is_hex(rest.substr(kOld.size())))
      moved_aside.push_back(it->path());
  }
  for (const fs::path& path : moved_aside) {
    const Fd fd = open_fd(path, O_RDONLY | O_NOFOLLOW);
    if (!fd || try_lock(fd.get()) != LockState::taken || !is_same(fd.get(), path)) continue;
    if (rename_new(path, target) == EEXIST) fs::remove_all(path, ignored);
  }
  for (const fs::path& path : in_the_making) {
    const Fd fd = open_fd(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (fd && try_lock(fd.get()) == LockState::taken && is_same(fd.get(), path))
      fs::remove_all(path, ignored);
  }
}

Result<std::optional<fs::path>> move_into_place(const fs::path& from, const fs::path& target,
                                                const ReplaceOptions& options) {
  const int error = rename_new(from, target);
  if (error == 0) return std::optional<fs::path>();
  if (error != EEXIST) return io_error(target, "cannot rename into place", error);
  if (!options.force)
    return Error{Errc::usage,
                 fmt::format("{}: output appeared while this ran (try --force to replace it)",
                             target.string())};
  if (is_folder(from) != is_folder(target))
    return io_error(target, "cannot replace", is_folder(target) ? EISDIR : ENOTDIR);
  if (!is_folder(target)) {
    if (::rename(from.c_str(), target.c_str()) != 0)
      return io_error(target, "cannot rename into place", errno);
    return std::optional<fs::path>();
  }
  if (options.may_exchange) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0)
      return std::optional(from);
    if (errno != EINVAL && errno != ENOSYS)
      return io_error(target, "cannot exchange with the new folder", errno);
  }
  // The lock tells other runs that the old folder, for the instant it is aside, is no leftover.
  const Fd old = open_fd(target, O_RDONLY | O_DIRECTORY);
  if (old) (void)try_lock(old.get());
  const fs::path aside = random_sibling(target, kOld);
  if (::rename(target.c_str(), aside.c_str()) != 0)
    return io_error(target, "cannot move the old output aside", errno);
  if (::rename(from.c_str(), target.c_str()) != 0) {
    const int second = errno;
    (void)::rename(aside.c_str(), target.c_str());
    return io_error(target, "cannot rename into place", second);
  }
  return std::optional(aside);
}

Result<std::vector<fs::path>> create_folders(const fs::path& folder) {
  std::vector<fs::path> created;
  fs::path path;
  for (const fs::path& part : folder) {
    path /= part;
    const int error = ::mkdir(path.c_str(), 0777) == 0 ? 0 : errno;
    if (error == 0) {
      created.push_back(path);
    } else if (error != EEXIST && !is_there(path)) {  // one that exists may answer EROFS or EACCES
      remove_empty_folders(created);
      return io_error(path, "cannot create the folder", error);
    }
  }
  return created;
}

void remove_empty_folders(const std::vector<fs::path>& folders) {
  std::for_each(folders.rbegin(), folders.rend(),
                [](const fs::path& folder) { ::rmdir(folder.c_str()); });
}

}  // namespace phiquant
