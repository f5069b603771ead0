// What the readers of tensors found in a folder share: where their bytes are, messages about them,
// and joining several stored tensors to one.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/checkpoint/folder.h"

namespace phiquant {

// "<file>: tensor 'name': what"
Error error_of(Errc code, const FoundTensor& tensor, const std::string& what);

// What the tensor decodes to where it has been joined, or else its range of the file.
std::shared_ptr<const ByteSource> bytes_of(const FoundTensor& tensor);

// Tensors by name, of which some are taken as parts of others. `found` must outlive it.
class TensorParts {
 public:
  explicit TensorParts(const std::vector<FoundTensor>& found);
  // Null where there is none of that name.
  const FoundTensor* take(const std::string& name);
  // Adds what was not taken, in its order.
  void add_rest(std::vector<FoundTensor>& to) const;

 private:
  const std::vector<FoundTensor>& found_;
  std::map<std::string, size_t> by_name_;
  std::vector<bool> taken_;
};

}  // namespace phiquant
