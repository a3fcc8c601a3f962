#include "microtome/circuits/algebra/vocabulary.h"

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/head_weights.h"
#include "microtome/kernels/gemm.h"

namespace microtome::algebra {
namespace {

constexpr int64_t kTokensPerBlock = 2048;
constexpr int64_t kTokensPerPass = 512;

// Without the mean over its n values, summed in double.
void centre_row(float* row, int64_t n) {
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += row[j];
  const auto mean = static_cast<float>(sum / static_cast<double>(n));
  for (int64_t j = 0; j < n; ++j) row[j] -= mean;
}

void add_into(MatrixF64& sum, const std::vector<float>& part) {
  for (size_t i = 0; i < part.size(); ++i) sum.data[i] += part[i];
}

}  // namespace

std::string embedding_name(EmbeddingKind kind) {
  switch (kind) {
    case EmbeddingKind::kToken: return "w_e";
    case EmbeddingKind::kEffective: return "effective";
    case EmbeddingKind::kMlp0Only: return "mlp0_only";
  }
  return "";
}

EmbeddingKind parse_embedding(const std::string& name) {
  for (const EmbeddingKind kind : {EmbeddingKind::kToken, EmbeddingKind::kEffective, EmbeddingKind::kMlp0Only})
    if (embedding_name(kind) == name) return kind;
  throw Error(ErrorKind::kInvalidArgument, "embedding \"{}\": expected w_e, effective or mlp0_only", printable(name));
}

PackedPlain pack_matrix(const float* values, int64_t k, int64_t n) {
  PackedPlain out;
  out.storage = Tensor::empty({packed_bytes(PackedFormat::kF32, k, n)}, Arena::global(), DType::kU8);
  auto* data = reinterpret_cast<std::byte*>(out.storage.u8());
  pack_plain(PackedFormat::kF32, values, k, n, n, 1, data);
  out.view = {PackedFormat::kF32, k, n, data};
  return out;
}

Vocabulary::Vocabulary(const Model& model, EmbeddingKind kind, Progress* progress)
    : model_(&model),
      progress_(progress),
      v_(model.config().vocab),
      d_(model.config().d_model),
      centre_(centred_view(model.config())) {
  if (kind != EmbeddingKind::kToken) fill_effective(kind, progress);
}

Vocabulary::Vocabulary(std::vector<float> w_e, std::vector<float> w_u, int64_t v, int64_t d, const Progress* progress)
    : progress_(progress), v_(v), d_(d), own_embed_(std::move(w_e)), own_unembed_(pack_matrix(w_u.data(), d, v)) {
  MT_CHECK_EQ(static_cast<int64_t>(own_embed_.size()), v * d);
  MT_CHECK_EQ(static_cast<int64_t>(w_u.size()), v * d);
}

void Vocabulary::fill_effective(EmbeddingKind kind, Progress* progress) {
  const Config& c = model_->config();
  if (kind == EmbeddingKind::kMlp0Only && !c.mlp)
    throw Error(ErrorKind::kUnsupported, "embedding mlp0_only: this model has attention only; give w_e or effective");
  if (c.n_layers < 1) throw Error(ErrorKind::kUnsupported, "embedding {}: this model has no blocks", embedding_name(kind));
  std::vector<float> filled(static_cast<size_t>(v_ * d_));
  if (progress) progress->begin("effective embedding", static_cast<double>(v_));
  for (int64_t begin = 0; begin < v_; begin += kTokensPerPass) {
    const int64_t n = std::min(kTokensPerPass, v_ - begin);
    Batch batch;
    for (int64_t i = 0; i < n; ++i) batch.add_sequence(std::vector<int32_t>{static_cast<int32_t>(begin + i)});
    Tensor stream = Tensor::empty({n, d_});
    unpack(model_->weights().embed.view, begin, begin + n, 1, d_, stream.f32());
    Plan plan;
    plan.stop_after_layer = 0;
    float* out = filled.data() + begin * d_;
    const auto keep = [&](const SiteValue& v) { std::copy_n(v.data.f32(), n * d_, out); };
    if (kind == EmbeddingKind::kMlp0Only) plan.edit({.site = {SiteKind::kAttnOut, 0}, .op = EditOp::kZero});
    plan.read({kind == EmbeddingKind::kMlp0Only ? SiteKind::kMlpOut : SiteKind::kResidPost, 0}, keep);
    forward(*model_, {.batch = batch, .plan = &plan, .residual = Value(stream), .progress = progress});
    if (progress) progress->step(static_cast<double>(n));
  }
  if (centre_) centre_rows(filled.data(), v_, d_);
  own_embed_ = std::move(filled);
}

void Vocabulary::embed_rows(int64_t begin, int64_t end, float* out) const {
  if (!own_embed_.empty()) {
    std::copy(own_embed_.begin() + begin * d_, own_embed_.begin() + end * d_, out);
    return;
  }
  unpack(model_->weights().embed.view, begin, end, 1, d_, out);
  if (centre_) centre_rows(out, end - begin, d_);
}

Tensor Vocabulary::embed_product(const float* w, int64_t k) const {
  Tensor out = Tensor::empty({v_, k});
  const PackedPlain packed = pack_matrix(w, d_, k);
  std::vector<float> rows(static_cast<size_t>(kTokensPerBlock * d_));
  for (int64_t begin = 0; begin < v_; begin += kTokensPerBlock) {
    check();
    const int64_t end = std::min(v_, begin + kTokensPerBlock);
    embed_rows(begin, end, rows.data());
    gemm(rows.data(), end - begin, packed.view, out.f32() + begin * k);
  }
  return out;
}

// X centred as norms do, times γ: then the model's own W_U gives X times the folded one.
std::vector<float> Vocabulary::before_unembedding(const float* x, int64_t m) const {
  std::vector<float> y(x, x + m * d_);
  if (!model_) return y;
  if (centre_) centre_rows(y.data(), m, d_);
  const Vector& gamma = model_->weights().final_norm.gamma;
  if (model_->config().final_norm && gamma.present())
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < d_; ++j) y[i * d_ + j] *= gamma.data.f32()[j];
  return y;
}

Tensor Vocabulary::unembed_product(const float* x, int64_t m) const {
  check();
  Tensor out = Tensor::empty({m, v_});
  const std::vector<float> y = before_unembedding(x, m);
  gemm(y.data(), m, model_ ? model_->weights().unembed.view : own_unembed_.view, out.f32());
  parallel_for(m, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) centre_row(out.f32() + i * v_, v_);
  });
  return out;
}

Tensor Vocabulary::zero_layer_logits(const float* x, int64_t m) const {
  Tensor out = Tensor::empty({m, v_});
  const std::vector<float> y = before_unembedding(x, m);
  gemm(y.data(), m, model_ ? model_->weights().unembed.view : own_unembed_.view, out.f32());
  if (!model_) return out;
  const Weights& w = model_->weights();
  std::vector<float> bias(static_cast<size_t>(v_), 0.0f);
  if (model_->config().final_norm && w.final_norm.beta.present())
    gemm(w.final_norm.beta.data.f32(), 1, w.unembed.view, bias.data());
  if (w.b_unembed.present())
    for (int64_t t = 0; t < v_; ++t) bias[t] += w.b_unembed.data.f32()[t];
  for (int64_t i = 0; i < m; ++i)
    for (int64_t t = 0; t < v_; ++t) out.f32()[i * v_ + t] += bias[t];
  return out;
}

MatrixF64 Vocabulary::gram_copying() const {
  MatrixF64 sum(d_, d_);
  std::vector<double> embed_sum(d_, 0.0), unembed_mean(d_, 0.0);
  std::vector<float> e(static_cast<size_t>(kTokensPerBlock * d_)), u(e.size()), part(static_cast<size_t>(d_ * d_));
  for (int64_t begin = 0; begin < v_; begin += kTokensPerBlock) {
    check();
    const int64_t n = std::min(kTokensPerBlock, v_ - begin);
    embed_rows(begin, begin + n, e.data());
    unpack(model_ ? model_->weights().unembed.view : own_unembed_.view, begin, begin + n, n, 1, u.data());  // [D, n]
    gemm_plain(u.data(), e.data(), part.data(), d_, n, d_);
    add_into(sum, part);
    for (int64_t i = 0; i < d_; ++i)
      for (int64_t t = 0; t < n; ++t) unembed_mean[i] += u[i * n + t];
    for (int64_t t = 0; t < n; ++t)
      for (int64_t j = 0; j < d_; ++j) embed_sum[j] += e[t * d_ + j];
  }
  if (!model_) return sum;
  for (int64_t i = 0; i < d_; ++i)  // W_U centred over V
    for (int64_t j = 0; j < d_; ++j) sum(i, j) -= unembed_mean[i] / static_cast<double>(v_) * embed_sum[j];
  const Vector& gamma = model_->weights().final_norm.gamma;
  if (model_->config().final_norm && gamma.present())
    for (int64_t i = 0; i < d_; ++i)
      for (int64_t j = 0; j < d_; ++j) sum(i, j) *= gamma.data.f32()[i];
  if (centre_)  // W_U centred over D
    for (int64_t j = 0; j < d_; ++j) {
      double mean = 0;
      for (int64_t i = 0; i < d_; ++i) mean += sum(i, j);
      for (int64_t i = 0; i < d_; ++i) sum(i, j) -= mean / static_cast<double>(d_);
    }
  return sum;
}

MatrixF64 Vocabulary::gram_matching() const {
  MatrixF64 square(d_, d_), out(d_ + 1, d_ + 1);
  std::vector<double> embed_sum(d_, 0.0);
  std::vector<float> e(static_cast<size_t>(kTokensPerBlock * d_)), turned(e.size()), part(static_cast<size_t>(d_ * d_));
  for (int64_t begin = 0; begin < v_; begin += kTokensPerBlock) {
    check();
    const int64_t n = std::min(kTokensPerBlock, v_ - begin);
    embed_rows(begin, begin + n, e.data());
    for (int64_t t = 0; t < n; ++t)
      for (int64_t j = 0; j < d_; ++j) turned[j * n + t] = e[t * d_ + j];
    gemm_plain(turned.data(), e.data(), part.data(), d_, n, d_);
    add_into(square, part);
    for (int64_t t = 0; t < n; ++t)
      for (int64_t j = 0; j < d_; ++j) embed_sum[j] += e[t * d_ + j];
  }
  for (int64_t i = 0; i < d_; ++i) {
    for (int64_t j = 0; j < d_; ++j) out(i, j) = square(i, j);
    out(i, d_) = out(d_, i) = embed_sum[i];
  }
  out(d_, d_) = static_cast<double>(v_);
  return out;
}

}  // namespace microtome::algebra
