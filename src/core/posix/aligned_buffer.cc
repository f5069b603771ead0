#include "core/aligned_buffer.h"

#include <sys/mman.h>

#include <new>

#include "core/file_writer.h"

namespace phiquant {

void AlignedBuffer::Free::operator()(std::byte* p) const {
  ::operator delete (p, std::align_val_t{alignment});
}

// Large buffers lie on huge pages where the system has them: their first touch is cheaper, and so
// is writing far apart, as codes of neighbouring columns do.
void AlignedBuffer::allocate(size_t size_bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  storage_.reset();  // before allocating: the old bytes are not kept, so never hold both
  const bool huge = size_bytes >= kHugePage;
  const size_t alignment = huge ? kHugePage : kDirectBlock;
  capacity_ = (size_bytes + alignment - 1) / alignment * alignment;
  storage_ = {static_cast<std::byte*>(::operator new (capacity_, std::align_val_t{alignment})),
              Free{alignment}};
  if (huge) (void)::madvise(storage_.get(), capacity_, MADV_HUGEPAGE);  // a hint that may fail
}

std::byte* AlignedBuffer::resize(size_t size_bytes, size_t phase) {
  phase %= kDirectBlock;
  if (!storage_ || phase + size_bytes > capacity_) allocate(phase + size_bytes);
  size_ = size_bytes;
  data_ = storage_.get() + phase;
  return data_;
}

}  // namespace phiquant
