#include "fuzzing.h"
#include "microtome/formats/zip.h"

using namespace microtome;

FUZZ_READER(bytes) {
  constexpr uint64_t kLimit = 1 << 20;
  const ZipReader zip(bytes, "fuzz");
  for (const ZipEntry& entry : zip.entries()) {
    MT_CHECK(zip.find(entry.name) == &entry);
    if (entry.size > kLimit) continue;
    uint64_t size = 0;
    allow_refusal([&] {
      zip.extract(entry, [&](std::span<const std::byte> piece) {
        touch(piece);
        size += piece.size();
      });
      MT_CHECK_EQ(size, entry.size);
    });
    MT_CHECK_LE(size, entry.size);
  }
}
