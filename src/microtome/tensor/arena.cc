#include "microtome/tensor/arena.h"

#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Sizes are rounded up to an eighth of their power of two, so that nearly equal requests share buffers (waste <= 1/8).
size_t rounded(size_t bytes) {
  if (bytes <= 256) return 256;
  const size_t step = std::bit_floor(bytes) / 8 < 64 ? 64 : std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

std::byte* system_allocate(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  void* data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (data == nullptr) throw Error(ErrorKind::kIo, "out of memory: {} bytes were asked for; try a shorter input", bytes);
  if (bytes >= kHugePage) ::madvise(data, bytes, MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
}

}  // namespace

struct Arena::Pool {
  std::mutex mutex;
  std::map<size_t, std::vector<std::byte*>> waiting;
  size_t reserved = 0;
  int64_t allocations = 0;
  bool closed = false;

  void give_back(std::byte* data, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (closed) {
      std::free(data);
      reserved -= bytes;
    } else {
      waiting[bytes].push_back(data);
    }
  }
  void trim() {
    for (auto& [bytes, list] : waiting) {
      reserved -= bytes * list.size();
      for (std::byte* data : list) std::free(data);
    }
    waiting.clear();
  }
};

Arena::Arena() : pool_(std::make_shared<Pool>()) {}

Arena::~Arena() {
  const std::lock_guard<std::mutex> lock(pool_->mutex);
  pool_->closed = true;
  pool_->trim();
}

std::shared_ptr<std::byte> Arena::allocate(size_t bytes) {
  const size_t size = rounded(bytes);
  std::byte* data = nullptr;
  {
    const std::lock_guard<std::mutex> lock(pool_->mutex);
    // The smallest waiting buffer that fits without wasting half of it.
    const auto it = pool_->waiting.lower_bound(size);
    if (it != pool_->waiting.end() && it->first <= 2 * size) {
      data = it->second.back();
      it->second.pop_back();
      const size_t actual = it->first;
      if (it->second.empty()) pool_->waiting.erase(it);
      return {data, [pool = pool_, actual](std::byte* p) { pool->give_back(p, actual); }};
    }
  }
  data = system_allocate(size);
  {
    const std::lock_guard<std::mutex> lock(pool_->mutex);
    pool_->reserved += size;
    ++pool_->allocations;
  }
  return {data, [pool = pool_, size](std::byte* p) { pool->give_back(p, size); }};
}

size_t Arena::reserved_bytes() const {
  const std::lock_guard<std::mutex> lock(pool_->mutex);
  return pool_->reserved;
}

int64_t Arena::system_allocations() const {
  const std::lock_guard<std::mutex> lock(pool_->mutex);
  return pool_->allocations;
}

void Arena::trim() {
  const std::lock_guard<std::mutex> lock(pool_->mutex);
  pool_->trim();
}

Arena& Arena::global() {
  // Never destroyed: tensors of static lifetime may outlive any order of destruction.
  static Arena* arena = new Arena;
  return *arena;
}

}  // namespace microtome
