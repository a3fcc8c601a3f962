// Working memory of products (internal to kernels/): one buffer per thread and purpose, kept and reused, 64-byte aligned,
// on huge pages if large. It holds at most what the largest chunk of one product needs.
#pragma once

#include <cstddef>
#include <cstdint>

namespace microtome::internal {

enum class ScratchUse : uint8_t { kWidenedPanel, kRoundedRows, kWidenedRows };

// At least `bytes` bytes, contents undefined; valid until this thread asks again for the same use.
void* scratch_bytes(ScratchUse use, size_t bytes);

template <class T>
T* scratch(ScratchUse use, int64_t n) {
  return static_cast<T*>(scratch_bytes(use, static_cast<size_t>(n) * sizeof(T)));
}

}  // namespace microtome::internal
