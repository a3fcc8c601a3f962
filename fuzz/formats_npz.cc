#include "fuzzing.h"
#include "microtome/formats/npz.h"

using namespace microtome;

FUZZ_READER(bytes) {
  constexpr uint64_t kLimit = 1 << 20;
  const NpzReader npz(bytes, "fuzz");
  for (const std::string& name : npz.names()) {
    allow_refusal([&] { touch(npz.read(name, kLimit).data); });
  }
}
