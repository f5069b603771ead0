// How many chunks compute at a time.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "pipeline/compute_slots.h"

namespace phiquant {
namespace {

TEST(ComputeSlots, NeverMoreThanTheirNumberAreHeld) {
  ComputeSlots slots(2);
  std::atomic<int> held{0}, most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        const SlotHold hold(&slots);
        const int now = ++held;
        int seen = most.load();
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        for (int turn = 0; turn < 20; ++turn) std::this_thread::yield();
        --held;
        const SlotPause pause(&slots);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_LE(most.load(), 2);
}

// Hangs where fewer are to be had.
TEST(ComputeSlots, AsManyAsTheirNumberAreHeldAtATime) {
  ComputeSlots slots(2);
  std::latch both_hold(2);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      const SlotHold hold(&slots);
      both_hold.arrive_and_wait();
    });
  for (auto& thread : threads) thread.join();
}

// Hangs where a pause gives nothing away.
TEST(ComputeSlots, APauseLetsAnotherIn) {
  ComputeSlots slots(1);
  const SlotHold hold(&slots);
  std::latch other_ran(1);
  std::thread other;
  {
    const SlotPause pause(&slots);
    other = std::thread([&] {
      const SlotHold second(&slots);
      other_ran.count_down();
    });
    other_ran.wait();
  }
  other.join();
}

TEST(ComputeSlots, WithoutSlotsNothingWaits) {
  const SlotHold hold(nullptr);
  const SlotPause pause(nullptr);
  SUCCEED();
}

}  // namespace
}  // namespace phiquant
