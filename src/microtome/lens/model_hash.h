// What names a model's weights in files that belong to it (lenses, circuits): SHA-256 of the checkpoint file; of a folder, of
// the hashes of its *.safetensors in the order of their names. Any thread; the file is read whole.
#pragma once

#include <string>

#include "microtome/model/model.h"

namespace microtome {

// 64 hexadecimal digits. Throws NotFound, Io.
std::string model_sha256(const Model& model);

}  // namespace microtome
