#include "fuzzing.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/gguf.h"

using namespace microtome;

FUZZ_READER(bytes) {
  const GgufContents contents = read_gguf(bytes, "fuzz");
  for (const CheckpointTensor& t : contents.tensors) {
    MT_CHECK(tensor_bytes(t.dtype, t.shape) == t.data.size());
    touch(t.data);
  }
  const Metadata& m = contents.metadata;
  for (const Metadata::Entry& entry : m.entries()) {
    MT_CHECK(m.find(entry.key) != nullptr);
    allow_refusal([&] { m.u64(entry.key); });
    allow_refusal([&] { m.i64(entry.key); });
    allow_refusal([&] { m.f64(entry.key); });
    allow_refusal([&] { m.boolean(entry.key); });
    allow_refusal([&] { touch(as_byte_span(m.string(entry.key).value_or(""))); });
    allow_refusal([&] { m.i32s(entry.key); });
    allow_refusal([&] { m.f32s(entry.key); });
    allow_refusal([&] {
      const auto texts = m.strings(entry.key);
      for (const std::string_view text : *texts) touch(as_byte_span(text));
    });
  }
}
