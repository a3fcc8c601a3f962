#include "microtome/lens/model_hash.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/sha256.h"

namespace microtome {

namespace fs = std::filesystem;

std::string model_sha256(const Model& model) {
  const fs::path& path = model.checkpoint().path();
  if (!fs::is_directory(path)) return sha256_file(path);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  Sha256 all;
  for (const fs::path& file : files) all.update(as_byte_span(sha256_file(file)));
  return all.hex();
}

}  // namespace microtome
