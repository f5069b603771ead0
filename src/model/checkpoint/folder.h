// The folder of a checkpoint: opens its files under the rules for links, and finds the files that
// hold tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/input_file.h"
#include "model/checkpoint.h"
#include "model/checkpoint/safetensors.h"
#include "phiquant/error.h"

namespace phiquant {

class CheckpointFolder {
 public:
  CheckpointFolder(std::filesystem::path folder, bool follow_symlinks)
      : path_(std::move(folder)), follow_symlinks_(follow_symlinks) {}

  const std::filesystem::path& path() const { return path_; }
  // "<folder>/<name>", for messages.
  std::string where(const std::string& name) const { return (path_ / name).string(); }
  // Whether there is such a file or a link, dangling ones included.
  bool has(const std::string& name) const;
  // File names in the folder, sorted; no folders.
  Result<std::vector<std::string>> list() const;

  // Opens and records a file. Errors: io; unsupported (a link that leaves the folder and its cache
  // repository).
  Result<std::shared_ptr<const InputFile>> open(const std::string& name);
  // A whole file of at most `max_bytes`. Further errors: corrupt (a Git LFS pointer, an HTML page),
  // unsupported (size).
  Result<std::string> read_text(const std::string& name, uint64_t max_bytes);

  // Every file that was opened, each once, and the sum of their sizes.
  const std::vector<std::filesystem::path>& files() const { return files_; }
  uint64_t input_bytes() const { return input_bytes_; }

 private:
  std::filesystem::path path_;
  bool follow_symlinks_;
  std::vector<std::filesystem::path> files_;
  uint64_t input_bytes_ = 0;
};

// Whether a file of this name holds pickled weights: pytorch_model*.bin, *.pt, ...
// (openvino_model.bin does not).
bool is_pickle_name(const std::string& name);

struct FoundTensor {
  SafetensorsEntry entry;
  std::shared_ptr<const InputFile> file;
  // Where `entry` describes what several stored tensors decode to: those floats; entry.begin and
  // end are then the codes' place.
  std::shared_ptr<const ByteSource> bytes = nullptr;
  TensorPlace place = {};
};

// All tensors, by the index or from the one file; names are unique over all files.
// Errors: io (a shard is missing), corrupt (the index lies, climbs out of the folder, or a header
// is damaged), unsupported (pickled weights; links that leave the folder).
Result<std::vector<FoundTensor>> find_tensors(CheckpointFolder& folder,
                                              std::vector<std::string>& warnings);

}  // namespace phiquant
