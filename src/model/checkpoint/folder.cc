#include "model/checkpoint/folder.h"

#include <algorithm>
#include <system_error>

#include <fmt/core.h>

#include "core/text.h"
#include "model/checkpoint/not_weights.h"
#include "model/onnx/external.h"

namespace phiquant {
namespace fs = std::filesystem;

bool is_pickle_name(const std::string& name) {
  for (const char* extension : {".pt", ".pth", ".ckpt", ".pkl"})
    if (name.ends_with(extension)) return true;
  return name.ends_with(".bin") && (name.starts_with("pytorch_model") || name.starts_with("model"));
}

bool CheckpointFolder::has(const std::string& name) const {
  std::error_code status;
  return fs::symlink_status(path_ / name, status).type() != fs::file_type::not_found && !status &&
         !fs::is_directory(path_ / name, status);
}

Result<std::vector<std::string>> CheckpointFolder::list() const {
  std::error_code status;
  std::vector<std::string> names;
  for (fs::directory_iterator it(path_, status), end; !status && it != end; it.increment(status))
    if (std::error_code ignored; !it->is_directory(ignored))
      names.push_back(it->path().filename().string());
  if (status) return Error{Errc::io, fmt::format("{}: {}", path_.string(), status.message())};
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::shared_ptr<const InputFile>> CheckpointFolder::open(const std::string& name) {
  const fs::path path = path_ / name;
  std::error_code status;
  const fs::path real = fs::canonical(path, status);
  if (status) {
    std::error_code ignored;
    const char* hint = fs::is_symlink(path, ignored)
                           ? "the link's target is missing: incomplete download?"
                           : "incomplete download?";
    return Error{Errc::io,
                 fmt::format("{}: {} ({})", printable(path.string()), status.message(), hint)};
  }
  if (!follow_symlinks_) {
    PHIQUANT_ASSIGN(const bool stays, stays_with_model(path_, path));
    if (!stays)
      return Error{Errc::unsupported,
                   fmt::format("{}: this is a link to '{}', outside the checkpoint's folder "
                               "(--follow-symlinks accepts it)",
                               printable(path.string()), printable(real.string()))};
  }
  PHIQUANT_ASSIGN(auto file, InputFile::open(path));
  if (std::find(files_.begin(), files_.end(), path) == files_.end()) {
    files_.push_back(path);
    input_bytes_ += file->size_bytes();
  }
  return file;
}

Result<std::string> CheckpointFolder::read_text(const std::string& name, uint64_t max_bytes) {
  PHIQUANT_ASSIGN(const auto file, open(name));
  if (file->size_bytes() > max_bytes)
    return Error{Errc::unsupported, fmt::format("{}: file has {} bytes, at most {} are read",
                                                where(name), file->size_bytes(), max_bytes)};
  std::string text(file->size_bytes(), '\0');
  PHIQUANT_TRY(file->read(0, std::as_writable_bytes(std::span(text))));
  if (const auto because = not_weights_because(text))
    return Error{Errc::corrupt, fmt::format("{}: {}", where(name), *because)};
  return text;
}

}  // namespace phiquant
