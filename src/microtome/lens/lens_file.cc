#include "microtome/lens/lens_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "microtome/base/error.h"
#include "microtome/base/mapped_file.h"
#include "microtome/formats/safetensors.h"
#include "microtome/formats/torch_file.h"

namespace microtome {
namespace {

constexpr const char* kFormat = "microtome lens";
// Far above any model; a file's number of layers sizes arrays.
constexpr int64_t kMostLayers = 10'000;

struct Rows8 {
  std::vector<int8_t> values;
  std::vector<float> scale;  // of each row
};

Rows8 to_int8(const Tensor& x) {
  const int64_t rows = x.size(0), d = x.size(1);
  Rows8 out{std::vector<int8_t>(rows * d), std::vector<float>(rows)};
  for (int64_t r = 0; r < rows; ++r) {
    float most = 0;
    for (int64_t i = 0; i < d; ++i) most = std::max(most, std::abs(x.f32()[r * d + i]));
    out.scale[r] = most / 127;
    for (int64_t i = 0; i < d && most > 0; ++i)
      out.values[r * d + i] = static_cast<int8_t>(std::lround(x.f32()[r * d + i] / most * 127));
  }
  return out;
}

Tensor from_int8(const int8_t* values, const float* scale, int64_t rows, int64_t d) {
  Tensor out = Tensor::empty({rows, d});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < d; ++i) out.f32()[r * d + i] = static_cast<float>(values[r * d + i]) * scale[r];
  return out;
}

std::span<const std::byte> bytes_of(const Tensor& t) { return std::as_bytes(std::span(t.f32(), static_cast<size_t>(t.numel()))); }

int64_t whole(const std::string& text) {
  int64_t n = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  return error == std::errc() && end == text.data() + text.size() ? n : -1;
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// --- our own format ------------------------------------------------------------------------------------------------------------

class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& where) : where_(where), contents_(read_safetensors(file, where)) {
    for (const CheckpointTensor& t : contents_.tensors) tensors_[t.name] = &t;
    for (const auto& [key, value] : contents_.metadata) texts_[key] = value;
  }

  FittedLens read() {
    if (texts_["format"] != kFormat)
      throw Error(ErrorKind::kInvalidArgument, "{}: is no lens; make one with `microtome train lens`", where_);
    FittedLens lens;
    if (texts_["kind"] == "tuned") lens.kind = LensKind::kTuned;
    else if (texts_["kind"] == "jacobian") lens.kind = LensKind::kJacobian;
    else corrupt(fmt::format("its kind is \"{}\", expected tuned or jacobian", printable(texts_["kind"])));
    lens.d_model = whole(texts_["d_model"]);
    const int64_t n = whole(texts_["n_layers"]);
    if (lens.d_model < 1 || lens.d_model > 1 << 20 || n < 0 || n > kMostLayers) corrupt("d_model or n_layers is not a number");
    lens.n_prompts = std::max<int64_t>(0, whole(texts_["n_prompts"]));
    lens.model = texts_["model"];
    lens.model_sha256 = texts_["model_sha256"];
    if (!is_sha256(lens.model_sha256))
      corrupt(fmt::format("its model_sha256 is \"{}\", expected 64 hexadecimal digits: the model it was fitted to",
                          printable(lens.model_sha256)));
    lens.fit = texts_["fit"];
    for (int64_t l = 0; l < n; ++l) lens.layers.push_back(read_map(l, lens.d_model));
    return lens;
  }

 private:
  [[noreturn]] void corrupt(const std::string& what) const { throw Error(ErrorKind::kCorrupt, "{}: {}", where_, what); }

  const CheckpointTensor* find(const std::string& name, const std::vector<int64_t>& shape) const {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) return nullptr;
    if (it->second->shape != shape)
      corrupt(fmt::format("\"{}\" is {}, expected {}", name, shape_text(it->second->shape), shape_text(shape)));
    return it->second;
  }

  Tensor floats(const CheckpointTensor& t) const {
    if (t.dtype != DType::kF32) corrupt(fmt::format("\"{}\" is {}, expected F32", printable(t.name), dtype_name(t.dtype)));
    Tensor out = Tensor::empty(t.shape);
    std::copy(t.data.begin(), t.data.end(), reinterpret_cast<std::byte*>(out.f32()));
    return out;
  }

  LensMap read_map(int64_t l, int64_t d) const {
    const std::string prefix = fmt::format("layers.{}.", l);
    const CheckpointTensor* delta = find(prefix + "delta", {d, d});
    if (!delta) corrupt(fmt::format("has no \"{}delta\"", prefix));
    LensMap map;
    if (delta->dtype == DType::kI8) {
      const CheckpointTensor* scale = find(prefix + "scale", {d});
      if (!scale) corrupt(fmt::format("has no \"{}scale\"", prefix));
      const Tensor scales = floats(*scale);
      map.delta = from_int8(reinterpret_cast<const int8_t*>(delta->data.data()), scales.f32(), d, d);
    } else {
      map.delta = floats(*delta);
    }
    if (const CheckpointTensor* bias = find(prefix + "bias", {d})) map.bias = floats(*bias);
    for (const Tensor* t : {&map.delta, &map.bias})
      for (int64_t i = 0; t->defined() && i < t->numel(); ++i)
        if (!std::isfinite(t->f32()[i])) corrupt(fmt::format("layer {} holds a value that is not finite", l));
    return map;
  }

  std::string where_;
  SafetensorsContents contents_;
  std::map<std::string, const CheckpointTensor*> tensors_;
  std::map<std::string, std::string> texts_;
};

// --- the published format ------------------------------------------------------------------------------------------------------

FittedLens from_torch(const TorchValue& file, const std::string& where) {
  const auto refuse = [&](const std::string& what) { throw Error(ErrorKind::kInvalidArgument, "{}: {}", where, what); };
  const TorchValue* j = file.find("J");
  double scale = 1;
  FittedLens lens;
  lens.kind = LensKind::kJacobian;
  if (const TorchValue* n = file.find("n_prompts"); n && n->as<int64_t>()) lens.n_prompts = *n->as<int64_t>();
  if (!j) {
    j = file.find("jacobian_sum");
    const TorchValue* n = file.find("n_done");
    if (j && (!n || !n->as<int64_t>() || *n->as<int64_t>() < 1))
      refuse("has sums (jacobian_sum) but no number of prompts (n_done)");
    if (j) {
      lens.n_prompts = *n->as<int64_t>();
      scale = 1.0 / static_cast<double>(lens.n_prompts);
    }
  }
  if (!j || !j->as<TorchValue::Dict>()) refuse("is no Jacobian lens: it has no dict \"J\" of layers");
  if (const TorchValue* about = file.find("metadata"); about && about->as<TorchValue::Dict>()) {
    const auto read = [&](const char* key, std::string& text) {
      const TorchValue* value = about->find(key);
      if (!value || value->as<std::monostate>()) return;
      if (!value->as<std::string>()) refuse(fmt::format("metadata.{} is no text", key));
      text = *value->as<std::string>();
    };
    read("model", lens.model);
    read("model_sha256", lens.model_sha256);
    if (!lens.model_sha256.empty() && !is_sha256(lens.model_sha256))
      refuse(fmt::format("metadata.model_sha256 is \"{}\", expected 64 hexadecimal digits", printable(lens.model_sha256)));
  }
  std::map<int64_t, const TorchTensor*> layers;
  for (const auto& [key, value] : *j->as<TorchValue::Dict>()) {
    const int64_t layer = key.as<int64_t>() ? *key.as<int64_t>() : whole(*key.as<std::string>());
    const auto* t = value.as<TorchTensor>();
    if (layer < 0 || layer >= kMostLayers || !t) refuse("\"J\" holds something else than numbered layers of tensors");
    if (t->shape.size() != 2 || t->shape[0] != t->shape[1] || (lens.d_model > 0 && t->shape[0] != lens.d_model))
      refuse(fmt::format("layer {} is {}, expected a square matrix as wide as the others", layer, shape_text(t->shape)));
    lens.d_model = t->shape[0];
    layers[layer] = t;
  }
  if (layers.empty()) refuse("\"J\" holds no layer");
  for (int64_t l = 0; l <= layers.rbegin()->first; ++l) {
    const auto it = layers.find(l);
    if (it == layers.end()) refuse(fmt::format("layer {} is missing; lenses of some layers only are not read", l));
    Tensor delta = Tensor::from(it->second->floats(), {lens.d_model, lens.d_model});
    for (int64_t i = 0; i < delta.numel(); ++i) {
      const double x = delta.f32()[i] * scale - (i % (lens.d_model + 1) == 0 ? 1 : 0);
      if (!std::isfinite(x)) refuse(fmt::format("layer {} holds a value that is not finite", l));
      delta.f32()[i] = static_cast<float>(x);
    }
    lens.layers.push_back({std::move(delta), {}});
  }
  return lens;
}

}  // namespace

void save_lens(const std::filesystem::path& path, const FittedLens& lens, LensStorage storage) {
  std::vector<Rows8> rows;
  rows.reserve(lens.layers.size());
  std::vector<CheckpointTensor> tensors;
  const int64_t d = lens.d_model;
  for (size_t l = 0; l < lens.layers.size(); ++l) {
    const LensMap& map = lens.layers[l];
    const std::string prefix = fmt::format("layers.{}.", l);
    if (storage == LensStorage::kF32) {
      tensors.push_back({prefix + "delta", DType::kF32, {d, d}, bytes_of(map.delta)});
    } else {
      const Rows8& r = rows.emplace_back(to_int8(map.delta));
      tensors.push_back({prefix + "delta", DType::kI8, {d, d}, std::as_bytes(std::span(r.values))});
      tensors.push_back({prefix + "scale", DType::kF32, {d}, std::as_bytes(std::span(r.scale))});
    }
    if (map.bias.defined()) tensors.push_back({prefix + "bias", DType::kF32, {d}, bytes_of(map.bias)});
  }
  const std::vector<std::pair<std::string, std::string>> texts{{"format", kFormat},
                                                               {"kind", lens_kind_name(lens.kind)},
                                                               {"d_model", std::to_string(d)},
                                                               {"n_layers", std::to_string(lens.layers.size())},
                                                               {"model", lens.model},
                                                               {"model_sha256", lens.model_sha256},
                                                               {"fit", lens.fit},
                                                               {"n_prompts", std::to_string(lens.n_prompts)}};
  write_safetensors(path, tensors, texts);
}

FittedLens load_lens(const std::filesystem::path& path) {
  const MappedFile file(path);
  const std::string where = printable(path.string(), 200);
  const auto bytes = file.bytes();
  if (bytes.size() >= 2 && static_cast<char>(bytes[0]) == 'P' && static_cast<char>(bytes[1]) == 'K')
    return from_torch(parse_torch(bytes, where), where);
  return Reader(bytes, where).read();
}

void export_jacobian(const std::filesystem::path& path, const FittedLens& lens) {
  if (lens.kind != LensKind::kJacobian)
    throw Error(ErrorKind::kInvalidArgument, "only Jacobian lenses have a published format to export to; this one is {}",
                lens_kind_name(lens.kind));
  const int64_t d = lens.d_model;
  TorchValue::Dict j;
  TorchValue::List sources;
  for (int64_t l = 0; l < std::ssize(lens.layers); ++l) {
    std::vector<float> full(lens.layers[l].delta.f32(), lens.layers[l].delta.f32() + d * d);
    for (int64_t i = 0; i < d; ++i) full[i * (d + 1)] += 1;
    j.emplace_back(l, TorchTensor::f16(full, {d, d}));
    sources.emplace_back(l);
  }
  const auto text = [](const char* s) { return TorchValue(std::string(s)); };
  TorchValue::Dict metadata;
  metadata.emplace_back(text("model"), lens.model);
  metadata.emplace_back(text("model_sha256"), lens.model_sha256);
  metadata.emplace_back(text("fit"), lens.fit);
  TorchValue::Dict file;
  file.emplace_back(text("J"), std::move(j));
  file.emplace_back(text("n_prompts"), lens.n_prompts);
  file.emplace_back(text("source_layers"), std::move(sources));
  file.emplace_back(text("d_model"), d);
  file.emplace_back(text("metadata"), std::move(metadata));
  try {
    write_torch(path, std::move(file));
  } catch (const Error& e) {
    // The archive's writer does not know what it writes to.
    const std::string where = printable(path.string(), 200);
    if (std::string_view(e.what()).starts_with(where)) throw;
    throw Error(e.kind(), "{}: {}", where, e.what());
  }
}

FittedLens rounded_to_int8(const FittedLens& lens) {
  FittedLens out = lens;
  for (LensMap& map : out.layers) {
    const Rows8 r = to_int8(map.delta);
    map.delta = from_int8(r.values.data(), r.scale.data(), lens.d_model, lens.d_model);
  }
  return out;
}

}  // namespace microtome
