// A model family: how its checkpoints are recognised, configured and laid out. One file each; the registry is a list.
#pragma once

#include <span>

#include "microtome/formats/checkpoint.h"
#include "microtome/model/config.h"
#include "microtome/model/weights.h"

namespace microtome {

struct Family {
  const char* name;
  bool (*matches)(const Checkpoint&);
  // Throws Corrupt or Unsupported naming the field.
  Config (*configure)(const Checkpoint&);
  // Declares every parameter with its place in the checkpoint.
  void (*bind)(const Checkpoint&, const Config&, Weights&);
};

std::span<const Family* const> families();

// The family of a checkpoint; Unsupported if none matches, with the architecture's name and the list of known ones.
const Family& family_of(const Checkpoint& checkpoint);

extern const Family kLlamaFamily, kGpt2Family, kGptNeoxFamily, kAttnOnlyFamily;

}  // namespace microtome
