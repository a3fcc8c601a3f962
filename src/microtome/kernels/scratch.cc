#include "microtome/kernels/scratch.h"

#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <new>

namespace microtome::internal {
namespace {

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

struct Buffer {
  std::unique_ptr<void, FreeDeleter> data;
  size_t bytes = 0;
};

}  // namespace

void* scratch_bytes(ScratchUse use, size_t bytes) {
  static thread_local Buffer buffers[3];
  Buffer& buffer = buffers[static_cast<int>(use)];
  if (bytes <= buffer.bytes) return buffer.data.get();
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 4096;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  buffer = Buffer();
  buffer.data.reset(std::aligned_alloc(alignment, rounded));
  if (buffer.data == nullptr) throw std::bad_alloc();
  buffer.bytes = rounded;
#ifdef MADV_HUGEPAGE
  if (alignment == kHugePage) madvise(buffer.data.get(), rounded, MADV_HUGEPAGE);
#endif
  return buffer.data.get();
}

}  // namespace microtome::internal
