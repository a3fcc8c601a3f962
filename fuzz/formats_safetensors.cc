#include "fuzzing.h"
#include "microtome/formats/safetensors.h"

using namespace microtome;

FUZZ_READER(bytes) {
  uint64_t total = 0;
  for (const CheckpointTensor& t : read_safetensors(bytes, "fuzz").tensors) {
    MT_CHECK(tensor_bytes(t.dtype, t.shape) == t.data.size());
    touch(t.data);
    total += t.data.size();
  }
  MT_CHECK_LE(total, bytes.size());
}
