#include "microtome/kernels/isa.h"

#include <cstdio>
#include <cstdlib>

#include "hwy/highway.h"

namespace microtome {
namespace {

// Targets compiled in that this processor can run, best first; the baseline is always one of them.
std::vector<int64_t> usable_targets() {
  const int64_t usable = (hwy::SupportedTargets() & HWY_TARGETS) | HWY_STATIC_TARGET;
  std::vector<int64_t> targets;
  for (int64_t rest = usable; rest != 0; rest &= rest - 1) targets.push_back(rest & -rest);
  return targets;
}

const std::vector<int64_t>& targets() {
  static const std::vector<int64_t> list = usable_targets();
  return list;
}

int64_t g_target = 0;

void choose(int64_t target) {
  g_target = target;
  hwy::GetChosenTarget().Update(target);
}

// Runs before main, so that no kernel is dispatched before MICROTOME_ISA has been heard.
const bool g_chosen = [] {
  choose(targets().front());
  const char* name = std::getenv("MICROTOME_ISA");
  if (name != nullptr && *name != '\0' && !set_isa(name)) {
    std::string known;
    for (const std::string& isa : supported_isas()) known += (known.empty() ? "" : ", ") + isa;
    std::fprintf(stderr, "MICROTOME_ISA: this processor cannot run \"%.40s\"; using %s (it can run %s)\n", name,
                 current_isa().c_str(), known.c_str());
  }
  return true;
}();

}  // namespace

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const int64_t target : targets()) names.emplace_back(hwy::TargetName(target));
  return names;
}

std::string current_isa() { return hwy::TargetName(g_target); }

bool set_isa(const std::string& name) {
  for (const int64_t target : targets()) {
    if (name.empty() || name == hwy::TargetName(target)) {
      choose(target);
      return true;
    }
  }
  return false;
}

}  // namespace microtome
