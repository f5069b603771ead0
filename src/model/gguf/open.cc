#include "model/gguf/open.h"

#include <array>
#include <optional>
#include <unordered_set>
#include <utility>

#include <fmt/core.h>

#include "core/input_file.h"
#include "core/text.h"
#include "model/checkpoint/not_weights.h"
#include "wire/gguf_header.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxParts = 65'535;  // split.count is 16 bits wide

struct Part {
  std::shared_ptr<const InputFile> file;
  GgufHeader header;
};

Result<Part> open_part(const fs::path& path) {
  PHIQUANT_ASSIGN(auto file, InputFile::open(path));
  PHIQUANT_ASSIGN(const auto bytes, file->map());
  const std::string where = printable(path.string());
  constexpr size_t kHead = 64;
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()),
                              std::min(bytes.size(), kHead));
  if (!looks_like_gguf(bytes))
    if (const auto because = not_weights_because(head))
      return Error{Errc::corrupt, fmt::format("{}: {}", where, *because)};
  PHIQUANT_ASSIGN(GgufHeader header, parse_gguf_header(where, bytes));
  file->drop_mapped_pages();
  return Part{std::move(file), std::move(header)};
}

struct Split {
  uint64_t no = 0, count = 1;
  std::optional<uint64_t> tensors;
};

Split split_of(const GgufHeader& header) {
  return {gguf_unsigned(header.metadata, kGgufSplitNo).value_or(0),
          gguf_unsigned(header.metadata, kGgufSplitCount).value_or(1),
          gguf_unsigned(header.metadata, kGgufSplitTensors)};
}

// The names of all parts, from the name of one.
Result<std::vector<fs::path>> part_paths(const fs::path& path, const Split& split) {
  if (split.count > kMaxParts || split.no >= split.count)
    return Error{Errc::corrupt,
                 fmt::format("{}: says it is part {} of {}, wanted one of at most {}",
                             printable(path.string()), split.no + 1, split.count, kMaxParts)};
  const std::string name = path.filename().string(),
                    ending = gguf_split_name("", split.no, split.count);
  if (!name.ends_with(ending))
    return Error{Errc::corrupt,
                 fmt::format("{}: is part {} of {} of a split model; wanted a name that ends in "
                             "'{}' (rename it back)",
                             printable(path.string()), split.no + 1, split.count, ending)};
  const std::string prefix = name.substr(0, name.size() - ending.size());
  std::vector<fs::path> paths;
  for (uint64_t no = 0; no < split.count; ++no)
    paths.push_back(path.parent_path() / gguf_split_name(prefix, no, split.count));
  return paths;
}

Result<void> check_part(const fs::path& path, const Split& found, const Split& wanted) {
  if (found.no == wanted.no && found.count == wanted.count && found.tensors == wanted.tensors)
    return {};
  return Error{Errc::corrupt,
               fmt::format("{}: says it is part {} of {}, wanted part {} of {} of the same model",
                           printable(path.string()), found.no + 1, found.count, wanted.no + 1,
                           wanted.count)};
}

Result<void> add_tensors(GgufModel& model, const Part& part, GgufFloats floats,
                         std::unordered_set<std::string>& names) {
  for (const GgufTensorInfo& info : part.header.tensors) {
    if (!names.insert(info.name).second)
      return Error{Errc::corrupt, fmt::format("{}: tensor '{}' is in another part already",
                                              printable(part.file->path().string()), info.name)};
    GgufTensor t{
        info.name,    info.shape,
        info.type_id, file_range(part.file, part.header.data_begin + info.offset, info.size_bytes),
        {},           static_cast<uint32_t>(model.files.size() - 1)};
    if (floats) t.floats = floats(t);
    model.tensors.push_back(std::move(t));
  }
  return {};
}

}  // namespace

bool looks_like_gguf(const fs::path& path) {
  std::error_code status;
  if (!fs::is_regular_file(path, status)) return false;
  if (path.extension() == ".gguf") return true;  // a damaged one, too
  const auto file = InputFile::open(path);
  if (!file || (*file)->size_bytes() < 4) return false;
  std::array<std::byte, 4> head;
  return (*file)->read(0, head) && looks_like_gguf(std::span<const std::byte>(head));
}

Result<GgufModel> open_gguf(const fs::path& path, GgufFloats floats) {
  PHIQUANT_ASSIGN(const Part first, open_part(path));
  const Split split = split_of(first.header);
  std::vector<fs::path> paths = {path};
  if (split.count > 1) {
    PHIQUANT_ASSIGN(paths, part_paths(path, split));
  }

  GgufModel model;
  model.path = path;
  std::unordered_set<std::string> names;
  for (uint64_t no = 0; no < paths.size(); ++no) {
    PHIQUANT_ASSIGN(Part part, open_part(paths[no]));
    if (split.count > 1)
      PHIQUANT_TRY(check_part(paths[no], split_of(part.header), {no, split.count, split.tensors}));
    model.files.push_back(paths[no]);
    model.input_bytes += part.file->size_bytes();
    if (no == 0) {
      model.version = part.header.version;
      model.metadata = std::move(part.header.metadata);
    }
    PHIQUANT_TRY(add_tensors(model, part, floats, names));
  }
  if (split.tensors && *split.tensors != model.tensors.size())
    return Error{Errc::corrupt, fmt::format("{}: its parts hold {} tensors, wanted {} as '{}' says",
                                            printable(path.string()), model.tensors.size(),
                                            *split.tensors, kGgufSplitTensors)};
  for (const std::string_view key : {kGgufSplitNo, kGgufSplitCount, kGgufSplitTensors})
    remove_gguf_key(model.metadata, key);
  return model;
}

}  // namespace phiquant
