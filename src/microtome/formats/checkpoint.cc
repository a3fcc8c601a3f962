#include "microtome/formats/checkpoint.h"

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "microtome/base/edit_distance.h"
#include "microtome/base/error.h"
#include "microtome/base/file.h"
#include "microtome/base/mapped_file.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/gguf.h"
#include "microtome/formats/safetensors.h"

namespace microtome {
namespace fs = std::filesystem;

struct Checkpoint::State {
  CheckpointFormat format = CheckpointFormat::kGguf;
  fs::path path;
  std::vector<MappedFile> files;
  std::vector<CheckpointTensor> tensors;
  std::unordered_map<std::string_view, size_t> index;
  Json config = Json::object();
  Metadata metadata;
  std::deque<std::string> texts;  // what metadata of safetensors points to
};

namespace {

constexpr uint64_t kMaxConfigBytes = 16 << 20, kMaxIndexBytes = 100'000'000;
constexpr size_t kMaxShards = 4096;

std::string shown(const fs::path& path) { return printable(path.string(), 200); }

const CheckpointTensor* nearest(std::span<const CheckpointTensor> tensors, std::string_view name) {
  constexpr size_t kLongestCompared = 256;
  const CheckpointTensor* best = nullptr;
  size_t best_distance = 0;
  for (const CheckpointTensor& t : tensors) {
    if (t.name.size() > kLongestCompared || name.size() > kLongestCompared) continue;
    const size_t distance = edit_distance(t.name, name);
    if (best == nullptr || distance < best_distance) {
      best = &t;
      best_distance = distance;
    }
  }
  return best;
}

void add_metadata_text(Checkpoint::State& state, const std::string& key, const std::string& value) {
  if (state.metadata.find(key) != nullptr) return;
  const std::string& kept_key = state.texts.emplace_back(key);
  const std::string& kept_value = state.texts.emplace_back(value);
  state.metadata.add({kept_key, Metadata::Type::kString, Metadata::Type::kString, 1, as_byte_span(kept_value)});
}

void add_safetensors(Checkpoint::State& state, const fs::path& file) {
  SafetensorsContents contents = read_safetensors(state.files.emplace_back(file).bytes(), shown(file));
  for (const auto& [key, value] : contents.metadata) add_metadata_text(state, key, value);
  std::move(contents.tensors.begin(), contents.tensors.end(), std::back_inserter(state.tensors));
}

void build_index(Checkpoint::State& state) {
  for (size_t i = 0; i < state.tensors.size(); ++i) {
    if (!state.index.emplace(state.tensors[i].name, i).second) {
      throw Error(ErrorKind::kCorrupt, "{}: tensor \"{}\" is in two of the files", shown(state.path),
                  printable(state.tensors[i].name));
    }
  }
}

// name -> file, from model.safetensors.index.json. Files are named, never reached through a path.
std::vector<std::pair<std::string, std::string>> read_shard_index(const fs::path& file) {
  const Json index = parse_json(read_regular_file(file, kMaxIndexBytes), shown(file));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) throw Error(ErrorKind::kCorrupt, "{}: has no object \"weight_map\"", shown(file));
  std::vector<std::pair<std::string, std::string>> names;
  for (const auto& [name, shard] : map->items()) {
    const std::string shard_name = shard.is_string() ? shard.get<std::string>() : std::string();
    if (shard_name.empty() || shard_name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos ||
        shard_name[0] == '.') {
      throw Error(ErrorKind::kCorrupt, "{}: tensor \"{}\" is in \"{}\", expected the name of a file in this folder", shown(file),
                  printable(name), printable(shard_name));
    }
    names.emplace_back(name, shard_name);
  }
  return names;
}

void open_shards(Checkpoint::State& state, const fs::path& folder, const fs::path& index_file) {
  const auto names = read_shard_index(index_file);
  std::set<std::string> shards;
  for (const auto& [name, shard] : names) shards.insert(shard);
  if (shards.size() > kMaxShards) {
    throw Error(ErrorKind::kCorrupt, "{}: names {} files, at most {} are allowed", shown(index_file), shards.size(), kMaxShards);
  }
  for (const std::string& shard : shards) {
    if (!fs::exists(folder / shard)) {
      throw Error(ErrorKind::kNotFound, "{}: missing, though {} names it; the download may be incomplete", shown(folder / shard),
                  shown(index_file.filename()));
    }
    add_safetensors(state, folder / shard);
  }
  build_index(state);
  for (const auto& [name, shard] : names) {
    if (!state.index.contains(name)) {
      throw Error(ErrorKind::kCorrupt, "{}: names a tensor \"{}\" in {}, which is not there", shown(index_file), printable(name),
                  printable(shard));
    }
  }
}

void open_folder(Checkpoint::State& state, const fs::path& folder) {
  const fs::path config = folder / "config.json";
  if (!fs::exists(config)) {
    throw Error(ErrorKind::kNotFound,
                "{}: a folder without config.json; expected a .gguf file or a folder in the Hugging Face layout", shown(folder));
  }
  state.config = parse_json(read_regular_file(config, kMaxConfigBytes), shown(config));
  if (!state.config.is_object()) throw Error(ErrorKind::kCorrupt, "{}: expected a JSON object", shown(config));
  if (const fs::path index = folder / "model.safetensors.index.json"; fs::exists(index)) return open_shards(state, folder, index);
  if (const fs::path single = folder / "model.safetensors"; fs::exists(single)) {
    add_safetensors(state, single);
    return build_index(state);
  }
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files.insert(entry.path());
  }
  if (files.empty()) {
    throw Error(ErrorKind::kNotFound, "{}: has config.json but no *.safetensors{}", shown(folder),
                fs::exists(folder / "pytorch_model.bin") ? "; pytorch_model.bin must be converted to safetensors first" : "");
  }
  for (const fs::path& file : files) add_safetensors(state, file);
  build_index(state);
}

void open_file(Checkpoint::State& state, const fs::path& path) {
  if (path.extension() == ".safetensors") {
    add_safetensors(state, path);
    return build_index(state);
  }
  MappedFile& file = state.files.emplace_back(path);
  if (path.extension() != ".gguf" && !as_text(file.bytes()).starts_with("GGUF")) {
    throw Error(ErrorKind::kInvalidArgument, "{}: neither a .gguf nor a .safetensors file", shown(path));
  }
  state.format = CheckpointFormat::kGguf;
  GgufContents contents = read_gguf(file.bytes(), shown(path));
  state.metadata = std::move(contents.metadata);
  state.tensors = std::move(contents.tensors);
  build_index(state);
}

}  // namespace

Checkpoint open_checkpoint(const fs::path& path) {
  auto state = std::make_shared<Checkpoint::State>();
  state->path = path;
  state->format = CheckpointFormat::kSafetensors;
  state->metadata = Metadata(shown(path));
  try {
    if (!fs::exists(path)) throw Error(ErrorKind::kNotFound, "{}: no such file or folder", shown(path));
    fs::is_directory(path) ? open_folder(*state, path) : open_file(*state, path);
  } catch (const fs::filesystem_error& e) {
    throw Error(ErrorKind::kIo, "{}: cannot be read: {}", shown(path), e.code().message());
  }
  return Checkpoint(std::move(state));
}

CheckpointFormat Checkpoint::format() const { return state_->format; }
const fs::path& Checkpoint::path() const { return state_->path; }
std::span<const CheckpointTensor> Checkpoint::tensors() const { return state_->tensors; }
const Json& Checkpoint::config() const { return state_->config; }
const Metadata& Checkpoint::metadata() const { return state_->metadata; }

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const auto it = state_->index.find(name);
  return it == state_->index.end() ? nullptr : &state_->tensors[it->second];
}

const CheckpointTensor& Checkpoint::get(std::string_view name) const {
  if (const CheckpointTensor* tensor = find(name)) return *tensor;
  const CheckpointTensor* close = nearest(state_->tensors, name);
  throw Error(ErrorKind::kNotFound, "{}: has no tensor \"{}\"{}", shown(state_->path), printable(name),
              close == nullptr ? std::string() : fmt::format("; the nearest is \"{}\"", printable(close->name)));
}

void Checkpoint::release(const CheckpointTensor& tensor) const {
  for (const MappedFile& file : state_->files) {
    const std::byte* begin = file.bytes().data();
    if (tensor.data.data() >= begin && tensor.data.data() + tensor.data.size() <= begin + file.bytes().size()) {
      file.release(static_cast<size_t>(tensor.data.data() - begin), tensor.data.size());
      return;
    }
  }
}

}  // namespace microtome
