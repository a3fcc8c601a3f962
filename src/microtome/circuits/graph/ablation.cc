#include "microtome/circuits/graph/ablation.h"

#include <array>

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr std::array<std::string_view, 4> kNames{"resample", "zero", "mean", "mean-position"};

}  // namespace

std::string_view ablation_name(AblationKind kind) { return kNames[static_cast<size_t>(kind)]; }

AblationKind parse_ablation(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<AblationKind>(i);
  throw Error(ErrorKind::kInvalidArgument, "ablation \"{}\": expected resample, zero, mean or mean-position", printable(name));
}

}  // namespace microtome
