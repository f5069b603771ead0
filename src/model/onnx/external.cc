#include "model/onnx/external.h"

#include <algorithm>
#include <map>
#include <system_error>
#include <utility>

#include <fmt/core.h>

#include "core/checked_math.h"
#include "core/input_file.h"
#include "core/text.h"

namespace phiquant {
namespace fs = std::filesystem;
namespace {

bool inside(const fs::path& folder, const fs::path& file) {
  const auto [rest, unused] = std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
  return rest == folder.end();
}

// The repository folder of a path inside a Hugging Face cache; empty for other paths.
fs::path cache_repository(const fs::path& snapshot_folder) {
  for (fs::path p = snapshot_folder; p.has_relative_path(); p = p.parent_path())
    if (p.parent_path().filename() == "snapshots") return p.parent_path().parent_path();
  return {};
}

class Resolver {
 public:
  Resolver(StrippedModel& stripped, bool follow_symlinks)
      : stripped_(stripped),
        model_(stripped.model),
        follow_symlinks_(follow_symlinks),
        folder_(model_.path.has_parent_path() ? model_.path.parent_path() : fs::path(".")) {}

  Result<void> run() {
    for (const ExternalRef& ref : stripped_.external) PHIQUANT_TRY(resolve(ref));
    return {};
  }

 private:
  struct Opened {
    std::shared_ptr<const InputFile> file;
    uint32_t index;
  };

  Error error(Errc code, const ExternalRef& ref, const std::string& what) const {
    return {code, fmt::format("{}: tensor '{}': {}", model_.path.string(),
                              printable(model_.payloads[ref.payload].source.name), what)};
  }
  Result<void> check_location(const ExternalRef& ref) const;
  Result<Opened> open(const ExternalRef& ref);
  Result<void> resolve(const ExternalRef& ref);

  StrippedModel& stripped_;
  OnnxModel& model_;
  bool follow_symlinks_;
  fs::path folder_;
  std::map<std::string, Opened> by_location_;
  std::map<fs::path, Opened> by_path_;
};

Result<void> Resolver::check_location(const ExternalRef& ref) const {
  const std::string shown = printable(ref.location);
  if (ref.location.empty()) return error(Errc::corrupt, ref, "external location is empty");
  if (std::any_of(ref.location.begin(), ref.location.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20; }))
    return error(Errc::corrupt, ref,
                 fmt::format("external location '{}' has control characters", shown));
  const fs::path location(ref.location);
  if (location.is_absolute())
    return error(
        Errc::corrupt, ref,
        fmt::format(
            "external location '{}' is absolute, wanted a path relative to the model's folder",
            shown));
  const fs::path normal = location.lexically_normal();
  if (*normal.begin() == ".." || normal == "." || !normal.has_filename())
    return error(Errc::corrupt, ref,
                 fmt::format("external location '{}' is not inside the model's folder", shown));
  return {};
}

Result<Resolver::Opened> Resolver::open(const ExternalRef& ref) {
  if (const auto known = by_location_.find(ref.location); known != by_location_.end())
    return known->second;
  PHIQUANT_TRY(check_location(ref));
  const fs::path path = folder_ / fs::path(ref.location).lexically_normal();
  std::error_code status;
  const fs::path real = fs::canonical(path, status);
  if (status) {
    std::string hint = "(incomplete download?)";
    std::error_code ignored;
    if (fs::is_symlink(model_.path, ignored))
      hint = "(the model is a symbolic link: name the file it points to)";
    if (ref.location.find('\\') != std::string::npos)
      hint = "(the location has backslashes: written on Windows?)";
    return error(Errc::io, ref,
                 fmt::format("external data file '{}' cannot be opened: {} {}",
                             printable(path.string()), status.message(), hint));
  }
  if (!follow_symlinks_) {
    PHIQUANT_ASSIGN(const bool stays, stays_with_model(folder_, path));
    if (!stays)
      return error(
          Errc::unsupported, ref,
          fmt::format("external data file '{}' is a link to '{}', outside the model's folder "
                      "(--follow-symlinks accepts it)",
                      printable(path.string()), printable(real.string())));
  }
  Opened opened;
  if (const auto known = by_path_.find(real); known != by_path_.end()) {
    opened = known->second;
  } else {
    PHIQUANT_ASSIGN(opened.file, InputFile::open(path));
    opened.index = 0;
    if (!opened.file->same_file(model_.path)) {
      opened.index = static_cast<uint32_t>(model_.files.size());
      model_.files.push_back(path);
      model_.input_bytes += opened.file->size_bytes();
    }
    by_path_.emplace(real, opened);
  }
  by_location_.emplace(ref.location, opened);
  return opened;
}

Result<void> Resolver::resolve(const ExternalRef& ref) {
  Payload& payload = model_.payloads[ref.payload];
  const uint64_t wanted =
      *tensor_bytes(payload.source.dtype, payload.source.shape);  // checked by the reader
  if (ref.length && *ref.length != wanted)
    return error(
        Errc::corrupt, ref,
        fmt::format("external length is {}, {} of shape {} wants {}", *ref.length,
                    dtype_name(payload.source.dtype), shape_string(payload.source.shape), wanted));
  PHIQUANT_ASSIGN(const Opened opened, open(ref));
  const uint64_t size = opened.file->size_bytes();
  if (!range_inside(ref.offset, wanted, size))
    return error(
        Errc::corrupt, ref,
        fmt::format("data is bytes {} to {} of '{}', the file has {} (incomplete download?)",
                    ref.offset, ref.offset + wanted, printable(ref.location), size));
  payload.source.bytes = file_range(opened.file, ref.offset, wanted);
  payload.file = opened.index;
  return {};
}

}  // namespace

Result<bool> stays_with_model(const fs::path& folder, const fs::path& file) {
  std::error_code status;
  const fs::path real_folder = fs::canonical(folder, status);
  if (status) return Error{Errc::io, fmt::format("{}: {}", folder.string(), status.message())};
  const fs::path real = fs::canonical(file, status);
  if (status) return Error{Errc::io, fmt::format("{}: {}", file.string(), status.message())};
  if (inside(real_folder, real)) return true;
  const fs::path repository = cache_repository(real_folder);
  return !repository.empty() && real.parent_path() == repository / "blobs";
}

Result<void> resolve_external(StrippedModel& stripped, bool follow_symlinks) {
  return Resolver(stripped, follow_symlinks).run();
}

}  // namespace phiquant
