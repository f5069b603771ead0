// The one request to stop early (SIGINT, SIGTERM): set by a signal handler, polled by the pipeline.
#pragma once

namespace phiquant {

// Asks the running conversion to stop; async-signal-safe. It ends with Errc::cancelled and its
// temporary is removed as the AtomicOutput is destroyed.
void request_cancel() noexcept;

// Whether a stop was requested; cheap enough for every chunk.
bool cancelled() noexcept;

// Forgets the request, for a process that runs several conversions.
void reset_cancel() noexcept;

}  // namespace phiquant
