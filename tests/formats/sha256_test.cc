#include "microtome/formats/sha256.h"

#include <gtest/gtest.h>

#include "malformed.h"
#include "microtome/formats/byte_cursor.h"
#include "temp_folder.h"

namespace microtome {
namespace {

// FIPS 180-2, appendix B.
constexpr char kOfAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kOfMillionA[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, known_digests) {
  Sha256 hash;
  hash.update(as_byte_span("a"));
  hash.update(as_byte_span(""));
  hash.update(as_byte_span("bc"));
  EXPECT_EQ(hash.hex(), kOfAbc);
  hash.update(as_byte_span("abc"));
  EXPECT_EQ(hash.hex(), kOfAbc);
}

TEST(Sha256, files_are_hashed_with_progress) {
  const TempFolder folder;
  const auto file = folder.write("a", std::string(1000000, 'a'));
  double done = 0;
  Progress progress([&](const ProgressReport& r) { done = r.done; }, 0);
  EXPECT_EQ(sha256_file(file, &progress), kOfMillionA);
  EXPECT_EQ(done, 1000000);
  EXPECT_EQ(sha256_file(file), kOfMillionA);
  progress.cancel();
  expect_error(ErrorKind::kCancelled, "interrupted", [&] { sha256_file(file, &progress); });
  expect_error(ErrorKind::kNotFound, "absent", [&] { sha256_file(folder / "absent"); });
}

}  // namespace
}  // namespace microtome
