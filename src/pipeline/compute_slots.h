// Bounds how many chunks compute at a time, so that others may wait for the disk meanwhile.
#pragma once

#include <condition_variable>
#include <mutex>

namespace phiquant {

// A direct write returns when the disk has the bytes. With one thread a core, cores would idle
// during writes; with more threads than cores and nothing else, tiles would displace each other
// from the caches. So there are more threads, and a thread computes only while it holds a slot.
class ComputeSlots {
 public:
  explicit ComputeSlots(unsigned count) : free_(count) {}

  void acquire() {
    std::unique_lock lock(mutex_);
    freed_.wait(lock, [this] { return free_ > 0; });
    --free_;
  }
  void release() {
    {
      const std::lock_guard lock(mutex_);
      ++free_;
    }
    freed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  unsigned free_;
};

// Holds a slot, or nothing where there are no slots.
class SlotHold {
 public:
  explicit SlotHold(ComputeSlots* slots) : slots_(slots) {
    if (slots_) slots_->acquire();
  }
  ~SlotHold() {
    if (slots_) slots_->release();
  }
  SlotHold(const SlotHold&) = delete;
  SlotHold& operator=(const SlotHold&) = delete;

 private:
  ComputeSlots* slots_;
};

// Gives a held slot to others, and takes one again at the end.
class SlotPause {
 public:
  explicit SlotPause(ComputeSlots* slots) : slots_(slots) {
    if (slots_) slots_->release();
  }
  ~SlotPause() {
    if (slots_) slots_->acquire();
  }
  SlotPause(const SlotPause&) = delete;
  SlotPause& operator=(const SlotPause&) = delete;

 private:
  ComputeSlots* slots_;
};

}  // namespace phiquant
