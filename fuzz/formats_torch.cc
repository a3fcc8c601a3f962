// Bytes that begin as a zip archive are a .pt file; others are the pickle of one with a storage of 16 bytes, so that the check of
// an archive's CRC does not keep the fuzzer from the pickle.
#include <sstream>

#include "fuzzing.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/torch_file.h"
#include "microtome/formats/zip.h"

using namespace microtome;

namespace {

void walk(const TorchValue& v) {
  if (const auto* t = v.as<TorchTensor>()) {
    const std::vector<float> values = t->floats();
    touch(std::as_bytes(std::span(values)));
  }
  if (const auto* list = v.as<TorchValue::List>())
    for (const TorchValue& e : *list) walk(e);
  if (const auto* dict = v.as<TorchValue::Dict>())
    for (const auto& [key, e] : *dict) walk(e);
}

std::string archive_of(std::span<const std::byte> pickle) {
  static constexpr std::byte kStorage[16] = {};
  std::ostringstream out;
  ZipWriter zip(out);
  const auto add = [&](const char* name, std::span<const std::byte> bytes) {
    zip.begin(name, bytes.size(), false);
    zip.write(bytes);
    zip.end();
  };
  add("x/data.pkl", pickle);
  add("x/data/0", kStorage);
  zip.finish();
  return out.str();
}

}  // namespace

FUZZ_READER(bytes) {
  if (as_text(bytes).starts_with("PK")) return walk(parse_torch(bytes, "fuzz"));
  const std::string file = archive_of(bytes);
  walk(parse_torch(as_byte_span(file), "fuzz"));
}
