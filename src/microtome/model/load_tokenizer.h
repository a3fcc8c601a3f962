// The tokenizer that lies with a checkpoint: GGUF metadata, or tokenizer.json beside the weights.
#pragma once

#include <memory>

#include "microtome/formats/checkpoint.h"
#include "microtome/text/tokenizer.h"

namespace microtome {

// Null if there is none. Throws Corrupt or Unsupported for one that cannot be used.
std::unique_ptr<Tokenizer> load_tokenizer(const Checkpoint& checkpoint);

}  // namespace microtome
