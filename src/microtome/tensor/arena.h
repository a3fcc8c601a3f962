// Memory for activations: buffers that go back to a pool when their last tensor is dropped, and are handed out again.
//
//   Arena arena;                                   // one per engine thread
//   Tensor x = Tensor::empty({rows, d}, arena);    // steady state: no allocation from the system
//
// Buffers are 64-byte aligned; those of 2 MiB and more lie on huge pages where the system grants them. A tensor keeps its
// buffer alive even after the arena is gone. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace microtome {

class Arena {
 public:
  Arena();
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Uninitialised memory, at least `bytes` long. Throws Error(kIo) when the system has none left.
  std::shared_ptr<std::byte> allocate(size_t bytes);

  // Bytes taken from the system, in use or waiting in the pool; and how often the system was asked.
  size_t reserved_bytes() const;
  int64_t system_allocations() const;

  // Gives waiting buffers back to the system.
  void trim();

  // The pool for tensors that belong to no forward pass (weights, results).
  static Arena& global();

 private:
  struct Pool;
  std::shared_ptr<Pool> pool_;
};

}  // namespace microtome
