// Which files hold a checkpoint's tensors, and whether the index tells the truth about them.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/core.h>

#include "core/text.h"
#include "model/checkpoint/folder.h"
#include "model/checkpoint/hf_config.h"
#include "model/checkpoint/json_reader.h"

namespace phiquant {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr uint64_t kMaxIndexBytes = 100'000'000;

using Index = std::map<std::string, std::string>;  // tensor name -> file name

Result<void> check_shard_name(const std::string& where, const std::string& name) {
  const std::string shown = printable(name);
  const auto bad = [&](const char* what) {
    return Error{Errc::corrupt, fmt::format("{}: shard '{}' {}", where, shown, what)};
  };
  if (name.empty())
    return Error{Errc::corrupt, fmt::format("{}: weight_map holds an empty file name", where)};
  if (std::any_of(name.begin(), name.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20; }))
    return bad("has control characters in its name");
  const fs::path path(name);
  if (path.is_absolute())
    return bad("is an absolute path, wanted one relative to the checkpoint's folder");
  const fs::path normal = path.lexically_normal();
  if (*normal.begin() == ".." || normal == "." || !normal.has_filename())
    return bad("is not inside the checkpoint's folder");
  if (path.extension() != ".safetensors") return bad("is not a .safetensors file");
  return {};
}

Result<Index> read_index(CheckpointFolder& folder) {
  const std::string where = folder.where(kIndex);
  PHIQUANT_ASSIGN(const std::string text, folder.read_text(kIndex, kMaxIndexBytes));
  PHIQUANT_ASSIGN(const auto json, parse_json(where, text));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object() || map->empty())
    return Error{Errc::corrupt, fmt::format("{}: weight_map is missing or not an object", where)};
  Index index;
  std::set<std::string> checked;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string())
      return Error{Errc::corrupt, fmt::format("{}: weight_map: tensor '{}': wanted a file name",
                                              where, printable(name))};
    const auto& shard = file.get_ref<const std::string&>();
    if (checked.insert(shard).second) PHIQUANT_TRY(check_shard_name(where, shard));
    index.emplace(name, fs::path(shard).lexically_normal().string());
  }
  return index;
}

Result<void> append_file(CheckpointFolder& folder, const std::string& name,
                         std::vector<FoundTensor>& found) {
  PHIQUANT_ASSIGN(const auto file, folder.open(name));
  PHIQUANT_ASSIGN(auto entries, read_safetensors_header(*file));
  const std::string file_name = file->path().filename().string();
  for (SafetensorsEntry& entry : entries) {
    const uint64_t size_bytes = entry.end - entry.begin;
    found.push_back(
        {std::move(entry), file, nullptr, {found.size(), file_name, "", size_bytes, 0}});
  }
  return {};
}

Result<void> check_all_there(const CheckpointFolder& folder, const std::set<std::string>& shards) {
  std::vector<std::string> missing;
  for (const std::string& shard : shards)
    if (!folder.has(shard)) missing.push_back(shard);
  if (missing.empty()) return {};
  return Error{Errc::io,
               fmt::format("{}: shard '{}' is missing{} (incomplete download?)",
                           folder.where(kIndex), printable(missing.front()),
                           missing.size() > 1 ? fmt::format(" and {} more of {}",
                                                            missing.size() - 1, shards.size())
                                              : "")};
}

Result<std::vector<FoundTensor>> by_index(CheckpointFolder& folder) {
  PHIQUANT_ASSIGN(const Index index, read_index(folder));
  std::set<std::string> shards;
  for (const auto& [name, file] : index) shards.insert(file);
  PHIQUANT_TRY(check_all_there(folder, shards));
  std::vector<FoundTensor> found;
  std::map<std::string, std::string> place;  // tensor name -> file that has it
  for (const std::string& shard : shards) {
    const size_t first = found.size();
    PHIQUANT_TRY(append_file(folder, shard, found));
    for (size_t i = first; i < found.size(); ++i) {
      const std::string& name = found[i].entry.name;
      const auto bad = [&](const std::string& what) {
        return Error{Errc::corrupt, fmt::format("{}: tensor '{}': {}", folder.where(shard),
                                                printable(name), what)};
      };
      const auto [at, is_new] = place.emplace(name, shard);
      if (!is_new) return bad(fmt::format("is in shard '{}' too", printable(at->second)));
      if (!index.contains(name)) return bad(fmt::format("{} does not list it", kIndex));
    }
  }
  for (const auto& [name, file] : index) {
    const auto at = place.find(name);
    if (at != place.end() && at->second == file) continue;
    return Error{
        Errc::corrupt,
        fmt::format("{}: weight_map: tensor '{}' is said to be in '{}', {}", folder.where(kIndex),
                    printable(name), printable(file),
                    at == place.end() ? "which does not have it"
                                      : fmt::format("it is in '{}'", printable(at->second)))};
  }
  return found;
}

bool only_names(CheckpointFolder& folder, const std::string& file) {
  const auto index = read_index(folder);
  if (!index) return false;
  return std::all_of(index->begin(), index->end(),
                     [&](const auto& entry) { return entry.second == file; });
}

// Why a folder without model.safetensors and without its index has no weights that can be read.
Error no_weights(const CheckpointFolder& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (is_pickle_name(name))
      return {Errc::unsupported,
              fmt::format("{}: pickled weights are not read: loading them executes code that the "
                          "file carries. Download the safetensors "
                          "files of the checkpoint, or convert it with transformers: "
                          "from_pretrained(...).save_pretrained(..., safe_serialization=True)",
                          folder.where(name))};
  return {Errc::io, fmt::format("{}: no weights: wanted {} or {} (incomplete download?)",
                                folder.path().string(), kSingle, kIndex)};
}

}  // namespace

Result<std::vector<FoundTensor>> find_tensors(CheckpointFolder& folder,
                                              std::vector<std::string>& warnings) {
  const bool has_index = folder.has(kIndex);
  std::string single = folder.has(kSingle) ? kSingle : "";
  if (single.empty() && !has_index) {
    PHIQUANT_ASSIGN(const auto names, folder.list());
    std::vector<std::string> candidates;
    for (const std::string& name : names)
      if (name.ends_with(".safetensors")) candidates.push_back(name);
    if (candidates.empty()) return no_weights(folder, names);
    if (candidates.size() > 1)
      return Error{
          Errc::io,
          fmt::format("{}: {} safetensors files ('{}', ...) and no {} (incomplete download?)",
                      folder.path().string(), candidates.size(), printable(candidates.front()),
                      kIndex)};
    single = candidates.front();
    if (single.starts_with("adapter_"))
      return Error{
          Errc::unsupported,
          fmt::format("{}: this is an adapter, not a model (merge it into its base model first)",
                      folder.where(single))};
  }
  if (single.empty()) return by_index(folder);
  // mlx_lm writes an index beside one file too.
  if (has_index && !only_names(folder, single))
    warnings.push_back(fmt::format("{} is used, {} ignored: the folder has both", single, kIndex));
  std::vector<FoundTensor> found;
  PHIQUANT_TRY(append_file(folder, single, found));
  return found;
}

}  // namespace phiquant
