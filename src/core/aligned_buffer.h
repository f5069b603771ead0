// Memory that the disk reads without a copy.
#pragma once

#include <cstddef>
#include <memory>

namespace phiquant {

// A reusable buffer whose data() is aligned to 4096 plus a chosen phase, so that write_at needs no
// copy.
class AlignedBuffer {
 public:
  // At least `size_bytes` usable bytes at an address congruent to `phase` modulo 4096; keeps
  // capacity.
  std::byte* resize(size_t size_bytes, size_t phase = 0);
  std::byte* data() { return data_; }
  size_t size() const { return size_; }

 private:
  struct Free {
    size_t alignment;
    void operator()(std::byte* p) const;
  };
  void allocate(size_t size_bytes);

  std::unique_ptr<std::byte, Free> storage_;
  size_t capacity_ = 0, size_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace phiquant
