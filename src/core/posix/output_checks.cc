#include "core/output_checks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "core/checked_math.h"
#include "core/posix/file.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

struct Space {
  uint64_t free_bytes = 0, unit_bytes = 1;
};

std::optional<Space> space_at(const fs::path& existing) {
  struct statvfs info {};
  if (::statvfs(existing.c_str(), &info) != 0 || info.f_blocks == 0 || info.f_frsize == 0)
    return std::nullopt;
  const auto free_bytes = checked_mul(info.f_bavail, info.f_frsize);
  if (!free_bytes) return std::nullopt;
  return Space{*free_bytes, info.f_frsize};
}

bool is_mount_point(const fs::path& path) {
  struct statx info {};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_TYPE, &info) != 0) return false;
  return (info.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0 &&
         (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Error refuse(const fs::path& shown, std::string_view why) {
  return Error{Errc::usage, fmt::format("{}: {}", shown.string(), why)};
}

// "m-00002-of-00007.gguf" as "m-*-of-*.gguf": with other options the same output has another number
// of parts. Other names as they are.
std::string without_part(const std::string& name) {
  constexpr std::string_view kOf = "-of-", kDigits = "0123456789";
  const size_t of = name.rfind(kOf);
  if (of == std::string::npos || of == 0) return name;
  const size_t no = name.find_last_not_of(kDigits, of - 1), total = of + kOf.size();
  const size_t end = std::min(name.find_first_not_of(kDigits, total), name.size());
  if (no == std::string::npos || name[no] != '-' || no + 1 == of || end == total) return name;
  return name.substr(0, no) + "-*-of-*" + name.substr(end);
}

bool holds_part_of(const fs::path& folder, const std::string& name) {
  const std::string pattern = without_part(name);
  if (pattern == name) return false;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (without_part(it->path().filename().string()) == pattern) return true;
  return false;
}

// A whole folder is about to be deleted: it must look like an output, or hold nothing.
Result<void> check_replaced_folder(const fs::path& resolved, const fs::path& shown,
                                   const std::vector<OutputFileSpec>& files) {
  std::error_code error;
  if (path_is_within(fs::current_path(error), resolved))
    return refuse(shown,
                  "cannot replace the folder that is or holds the working folder (choose a folder "
                  "inside it)");
  if (fs::is_empty(resolved, error)) return {};
  const bool known = std::any_of(files.begin(), files.end(), [&](const OutputFileSpec& file) {
    const fs::path name = *fs::path(file.relative_path).begin();
    return fs::exists(resolved / name, error) || holds_part_of(resolved, name.string());
  });
  if (known || files.empty()) return {};
  return refuse(
      shown,
      fmt::format(
          "--force does not replace a folder that is no earlier output: it has files, but no '{}' "
          "(choose another folder)",
          files.front().relative_path));
}

}  // namespace

Result<fs::path> resolve_target(const fs::path& target) {
  if (target.empty()) return Error{Errc::usage, "output: the path is empty"};
  std::error_code error;
  const fs::path absolute = fs::absolute(target, error);
  fs::path resolved = error ? fs::path() : fs::weakly_canonical(absolute, error);
  if (error) return io_error(target, "cannot resolve the output path", error.value());
  if (!resolved.has_filename()) resolved = resolved.parent_path();
  if (!resolved.has_filename()) return refuse(target, "the root folder cannot be an output");
  return resolved;
}

fs::path nearest_existing(fs::path path) {
  struct stat info {};
  while (::stat(path.c_str(), &info) != 0 && path.has_relative_path()) path = path.parent_path();
  return path;
}

Result<void> check_target(const fs::path& resolved, const fs::path& shown,
                          const std::vector<OutputFileSpec>& files,
                          const AtomicOutput::Options& options) {
  struct stat info {};
  if (::lstat(resolved.c_str(), &info) != 0)
    return {};  // a parent that cannot be searched shows in check_parent
  if (S_ISLNK(info.st_mode))
    return refuse(shown, "is a symbolic link to nothing (remove it, or choose another output)");
  if (options.is_directory && !S_ISDIR(info.st_mode))
    return refuse(shown, "is a file, the output is a folder (choose another path)");
  if (!options.is_directory && S_ISDIR(info.st_mode))
    return refuse(shown, "is a folder, the output is a file (choose another path)");
  if (!options.is_directory && !S_ISREG(info.st_mode))
    return refuse(
        shown, "is a device, pipe or socket: the output is written out of order (choose a file)");
  if (!options.force) return refuse(shown, "output exists (try --force to replace it)");
  if (is_mount_point(resolved))
    return refuse(shown, "is a mount point and cannot be replaced (choose a path inside it)");
  return options.is_directory ? check_replaced_folder(resolved, shown, files) : Result<void>();
}

Result<void> check_parent(const fs::path& resolved) {
  const fs::path parent = nearest_existing(resolved.parent_path());
  struct stat info {};
  if (::stat(parent.c_str(), &info) != 0)
    return io_error(parent, "cannot stat the output's parent", errno);
  if (!S_ISDIR(info.st_mode)) return io_error(parent, "cannot hold the output", ENOTDIR);
  if (::faccessat(AT_FDCWD, parent.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
    return io_error(parent, "folder cannot be written to", errno);
  return {};
}

Result<void> check_space(const fs::path& resolved, const fs::path& shown,
                         const std::vector<OutputFileSpec>& files) {
  const auto space = space_at(nearest_existing(resolved.parent_path()));
  struct rlimit limit {};
  const bool limited = ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  uint64_t need = 0;
  for (const OutputFileSpec& file : files) {
    const fs::path name = file.relative_path.empty() ? shown : shown / file.relative_path;
    if (limited && file.size_bytes > limit.rlim_cur)
      return Error{
          Errc::io,
          fmt::format("{}: file needs {}, this process may write files of {} (see ulimit -f)",
                      name.string(), bytes_text(file.size_bytes), bytes_text(limit.rlim_cur))};
    const auto rounded = checked_round_up(file.size_bytes, space ? space->unit_bytes : 1);
    const auto sum = rounded ? checked_add(need, *rounded) : std::nullopt;
    if (!sum || *sum > INT64_MAX)
      return Error{Errc::io, fmt::format("{}: the output's size overflows 63 bits", name.string())};
    need = *sum;
  }
  if (space && need > space->free_bytes)
    return Error{
        Errc::io,
        fmt::format("{}: not enough space: needs {}, has {} (free some, or choose another disk)",
                    shown.string(), bytes_text(need), bytes_text(space->free_bytes))};
  return {};
}

std::optional<uint64_t> free_disk_bytes(const fs::path& target) {
  std::error_code error;
  const fs::path absolute = fs::absolute(target, error);
  if (error) return std::nullopt;
  const auto space = space_at(nearest_existing(absolute));
  return space ? std::optional(space->free_bytes) : std::nullopt;
}

bool path_is_within(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path inner = fs::weakly_canonical(path, error);
  if (error) return false;
  fs::path outer = fs::weakly_canonical(folder, error);
  if (error) return false;
  if (!outer.has_filename()) outer = outer.parent_path();
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

}  // namespace phiquant
