#include "microtome/base/error.h"
#include "microtome/model/families/config_reader.h"
#include "microtome/model/families/family.h"

namespace microtome {

std::span<const Family* const> families() {
  static constexpr const Family* kAll[] = {&kLlamaFamily, &kGpt2Family, &kGptNeoxFamily, &kAttnOnlyFamily};
  return kAll;
}

const Family& family_of(const Checkpoint& checkpoint) {
  for (const Family* family : families())
    if (family->matches(checkpoint)) return *family;
  std::string known;
  for (const Family* family : families()) known += std::string(known.empty() ? "" : ", ") + family->name;
  const std::string found = architecture_of(checkpoint);
  throw Error(ErrorKind::kUnsupported, "{}: {}; known are {}", printable(checkpoint.path().string(), 200),
              found.empty() ? "the file names no model architecture"
                            : fmt::format("the architecture \"{}\" is not supported", printable(found)),
              known);
}

}  // namespace microtome
