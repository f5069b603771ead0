#include "core/cancel.h"

#include <atomic>

namespace phiquant {
namespace {

// Only a lock-free atomic may be touched from a signal handler.
std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

void request_cancel() noexcept { requested.store(true, std::memory_order_relaxed); }
bool cancelled() noexcept { return requested.load(std::memory_order_relaxed); }
void reset_cancel() noexcept { requested.store(false, std::memory_order_relaxed); }

}  // namespace phiquant
