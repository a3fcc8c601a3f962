#include "microtome/model/model.h"

#include <cmath>
#include <numbers>

#include "microtome/base/error.h"
#include "microtome/model/families/family.h"
#include "microtome/model/load_tokenizer.h"

namespace microtome {
namespace {

WeightFormat weight_format(ComputeMode mode) {
  switch (mode) {
    case ComputeMode::kBF16: return WeightFormat::kBF16;
    case ComputeMode::kNative: return WeightFormat::kNative;
    default: return WeightFormat::kF32;
  }
}

// Inverse frequencies theta^(-2 i / rotary), scaled as the configuration says (Llama 3: Hugging Face's
// _compute_llama3_parameters).
std::vector<double> rope_frequencies(const Config& c) {
  std::vector<double> f(c.rotary / 2);
  for (size_t i = 0; i < f.size(); ++i) {
    f[i] = std::pow(c.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(c.rotary));
    if (!c.rope_divisors.empty()) f[i] /= c.rope_divisors[i];
    const RopeScaling& s = c.rope_scaling;
    if (s.kind == RopeScaling::Kind::kLinear) f[i] /= s.factor;
    if (s.kind != RopeScaling::Kind::kLlama3) continue;
    const double wavelength = 2 * std::numbers::pi / f[i], original = static_cast<double>(s.original_context);
    if (wavelength > original / s.low_frequency) {
      f[i] /= s.factor;
    } else if (wavelength >= original / s.high_frequency) {
      const double smooth = (original / wavelength - s.low_frequency) / (s.high_frequency - s.low_frequency);
      f[i] = (1 - smooth) * f[i] / s.factor + smooth * f[i];
    }
  }
  return f;
}

}  // namespace

std::shared_ptr<const Model> Model::load(const std::filesystem::path& path, const LoadOptions& options) {
  std::shared_ptr<Model> model(new Model(open_checkpoint(path)));
  const Family& family = family_of(model->checkpoint_);
  model->mode_ = options.compute;
  model->config_ = family.configure(model->checkpoint_);
  validate(model->config_);
  model->weights_.layers.resize(model->config_.n_layers);
  family.bind(model->checkpoint_, model->config_, model->weights_);
  load_weights(model->checkpoint_, weight_format(options.compute), model->weights_);
  model->tokenizer_ = load_tokenizer(model->checkpoint_);
  if (model->tokenizer_) model->tokenizer_->extend_to(static_cast<int>(model->config_.vocab));
  return model;
}

const Tokenizer& Model::need_tokenizer() const {
  if (!tokenizer_)
    throw Error(ErrorKind::kUnsupported,
                "{}: no tokenizer there; give token ids with --tokens, or put tokenizer.json into the folder",
                printable(checkpoint_.path().string(), 200));
  return *tokenizer_;
}

std::shared_ptr<const RopeTable> Model::rope_table(int64_t last) const {
  if (config_.positions != PositionKind::kRotary || config_.rotary == 0) return nullptr;
  const std::lock_guard<std::mutex> lock(rope_mutex_);
  if (rope_ && rope_->cos.size(0) > last) return rope_;
  int64_t n = 256;
  while (n <= last) n *= 2;
  const std::vector<double> frequencies = rope_frequencies(config_);
  const int64_t half = config_.rotary / 2;
  auto table = std::make_shared<RopeTable>();
  table->rotary = config_.rotary;
  table->adjacent = config_.rope_adjacent;
  table->cos = Tensor::empty({n, half});
  table->sin = Tensor::empty({n, half});
  for (int64_t p = 0; p < n; ++p)
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) * frequencies[i];
      table->cos.f32()[p * half + i] = static_cast<float>(std::cos(angle));
      table->sin.f32()[p * half + i] = static_cast<float>(std::sin(angle));
    }
  rope_ = table;
  return rope_;
}

int64_t Model::parameter_count() const {
  Weights w = weights_;
  int64_t n = 0;
  for (const Matrix* m : w.matrices())
    if (m->id != w.embed.id || m == &w.embed) n += m->view.k * m->view.n;
  for (const Vector* v : w.vectors()) n += v->data.numel();
  return n;
}

int64_t Model::weight_bytes() const {
  Weights w = weights_;
  int64_t n = 0;
  for (const Matrix* m : w.matrices())
    if (m->id != w.embed.id || m == &w.embed) n += m->storage.numel();
  for (const Vector* v : w.vectors()) n += v->data.numel() * static_cast<int64_t>(sizeof(float));
  return n;
}

ParameterLeaves::ParameterLeaves(const Model& model, Tape& tape) : leaves_(model.weights().n_parameters) {
  Weights w = model.weights();
  for (const Matrix* m : w.matrices())
    if (leaves_[m->id].node < 0) leaves_[m->id] = tape.leaf(Tensor());
  for (const Vector* v : w.vectors()) leaves_[v->id] = tape.leaf(v->data);
}

}  // namespace microtome
