#include "model/checkpoint/found_tensors.h"

#include <fmt/core.h>

#include "core/text.h"

namespace phiquant {

Error error_of(Errc code, const FoundTensor& tensor, const std::string& what) {
  return {code, fmt::format("{}: tensor '{}': {}", tensor.file->path().string(),
                            printable(tensor.entry.name), what)};
}

std::shared_ptr<const ByteSource> bytes_of(const FoundTensor& tensor) {
  if (tensor.bytes) return tensor.bytes;
  return file_range(tensor.file, tensor.entry.begin, tensor.entry.end - tensor.entry.begin);
}

TensorParts::TensorParts(const std::vector<FoundTensor>& found)
    : found_(found), taken_(found.size()) {
  for (size_t i = 0; i < found.size(); ++i) by_name_.emplace(found[i].entry.name, i);
}

const FoundTensor* TensorParts::take(const std::string& name) {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) return nullptr;
  taken_[it->second] = true;
  return &found_[it->second];
}

void TensorParts::add_rest(std::vector<FoundTensor>& to) const {
  for (size_t i = 0; i < found_.size(); ++i)
    if (!taken_[i]) to.push_back(found_[i]);
}

}  // namespace phiquant
