#include "fuzzing.h"
#include "microtome/formats/npy.h"

using namespace microtome;

FUZZ_READER(bytes) {
  const NpyArray array = parse_npy(bytes, "fuzz");
  MT_CHECK(tensor_bytes(array.dtype, array.shape) == array.data.size());
  touch(array.data);
  MT_CHECK_EQ(static_cast<int64_t>(array.floats().size()), array.size());
  allow_refusal([&] { array.integers(); });
}
