#include "fuzzing.h"
#include "microtome/formats/torch_file.h"

using namespace microtome;

namespace {

void walk(const TorchValue& v) {
  if (const auto* t = v.as<TorchTensor>()) touch(std::as_bytes(std::span(t->floats())));
  if (const auto* list = v.as<TorchValue::List>())
    for (const TorchValue& e : *list) walk(e);
  if (const auto* dict = v.as<TorchValue::Dict>())
    for (const auto& [key, e] : *dict) walk(e);
}

}  // namespace

FUZZ_READER(bytes) { walk(parse_torch(bytes, "fuzz")); }
