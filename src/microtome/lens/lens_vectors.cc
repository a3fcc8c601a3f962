#include "microtome/lens/lens_vectors.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/ops/linear.h"

namespace microtome {
namespace {

// Vectors closer to parallel than this have no plane.
constexpr double kParallel = 1e-9;
// Moves along the gradient after each vector taken in.
constexpr int kMoves = 16;

double dot(const float* a, const float* b, int64_t d) {
  double sum = 0;
  for (int64_t i = 0; i < d; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double dot(const Tensor& a, const Tensor& b) { return dot(a.f32(), b.f32(), a.numel()); }

// w (1 + delta), in double.
Tensor through(const LensMap* map, const Tensor& w) {
  if (!map || !map->delta.defined()) return w;
  const int64_t d = w.numel();
  std::vector<double> sum(w.f32(), w.f32() + d);
  for (int64_t i = 0; i < d; ++i) {
    const double x = w.f32()[i];
    const float* row = map->delta.f32() + i * d;
    for (int64_t j = 0; j < d; ++j) sum[j] += x * row[j];
  }
  Tensor out = Tensor::empty({d});
  for (int64_t j = 0; j < d; ++j) out.f32()[j] = static_cast<float>(sum[j]);
  return out;
}

}  // namespace

Tensor lens_vector(const Model& model, const FittedLens* lens, int64_t layer, int32_t token) {
  Tensor w = Tensor::empty({model.config().d_model});
  model.context().kernels.unpack(model.weights().unembed.view, token, token + 1, 1, model.config().d_model, w.f32());
  return through(lens ? lens->at_layer(layer) : nullptr, w);
}

Tensor random_vector_like(const Model& model, const FittedLens* lens, int64_t layer, int32_t token, uint64_t seed) {
  const int64_t vocab = model.config().vocab;
  auto other = static_cast<int32_t>(Philox(seed, "norm-matched random token").below(std::max<int64_t>(1, vocab - 1), 0));
  if (other >= token && vocab > 1) ++other;
  const Tensor like = lens_vector(model, lens, layer, token);
  Tensor v = lens_vector(model, lens, layer, other).clone();
  const double length = std::sqrt(dot(v, v));
  if (length == 0) throw Error(ErrorKind::kInvalidArgument, "lens: the vector of token {} is zero", other);
  const double factor = std::sqrt(dot(like, like)) / length;
  for (int64_t i = 0; i < v.numel(); ++i) v.f32()[i] = static_cast<float>(v.f32()[i] * factor);
  return v;
}

StreamEdit ablate_edit(const Tensor& v) {
  const double square = dot(v, v);
  if (square == 0) throw Error(ErrorKind::kInvalidArgument, "lens: the vector to ablate is zero");
  StreamEdit e{v, Tensor::empty({v.numel()})};
  for (int64_t i = 0; i < v.numel(); ++i) e.write.f32()[i] = static_cast<float>(-v.f32()[i] / square);
  return e;
}

// With G = [[aa, ab], [ab, bb]], the coordinates are c = G^-1 (a.h, b.h); exchanging them adds (c_b - c_a)(a - b), and
// c_b - c_a = ((aa + ab) b.h - (bb + ab) a.h) / det G.
StreamEdit swap_edit(const Tensor& a, const Tensor& b) {
  const double aa = dot(a, a), bb = dot(b, b), ab = dot(a, b), det = aa * bb - ab * ab;
  if (!(det > kParallel * aa * bb))
    throw Error(ErrorKind::kInvalidArgument, "lens: the vectors to swap are parallel; name two different tokens");
  const int64_t d = a.numel();
  StreamEdit e{Tensor::empty({d}), Tensor::empty({d})};
  for (int64_t i = 0; i < d; ++i) {
    e.read.f32()[i] = static_cast<float>(((aa + ab) * b.f32()[i] - (bb + ab) * a.f32()[i]) / det);
    e.write.f32()[i] = a.f32()[i] - b.f32()[i];
  }
  return e;
}

void apply_stream_edit(const StreamEdit& edit, float* h, int64_t d) {
  const auto factor = static_cast<float>(dot(edit.read.f32(), h, d));
  for (int64_t i = 0; i < d; ++i) h[i] += factor * edit.write.f32()[i];
}

LensDictionary lens_dictionary(const Model& model, const FittedLens* lens, int64_t layer) {
  constexpr int64_t kSlab = 4096;
  const int64_t d = model.config().d_model, vocab = model.config().vocab;
  const LensMap* map = lens ? lens->at_layer(layer) : nullptr;
  LensDictionary out{&model, map ? *map : LensMap{}, std::vector<double>(vocab)};
  const OpContext ctx = model.context();
  for (int64_t begin = 0; begin < vocab; begin += kSlab) {
    const int64_t end = std::min(vocab, begin + kSlab), n = end - begin;
    Tensor w = Tensor::empty({n, d}, ctx.arena), change = Tensor::zeros({n, d}, ctx.arena);
    ctx.kernels.unpack(model.weights().unembed.view, begin, end, 1, d, w.f32());
    if (out.map.delta.defined()) ctx.kernels.gemm_plain(std::as_const(w).f32(), out.map.delta.f32(), change.f32(), n, d, d);
    Tensor v = Tensor::empty({n, d}, ctx.arena);
    ctx.kernels.add(n * d, std::as_const(w).f32(), std::as_const(change).f32(), v.f32());
    for (int64_t t = 0; t < n; ++t) out.length[begin + t] = std::sqrt(dot(v.f32() + t * d, v.f32() + t * d, d));
  }
  return out;
}

namespace {

// The chosen vectors at length 1, their coefficients, and what they leave of h.
class Pursuit {
 public:
  Pursuit(const LensDictionary& dictionary, const float* h, int64_t d) : dictionary_(dictionary), h_(h), d_(d), left_(h, h + d) {}

  // False if no vector points to what is left.
  bool take_in() {
    const std::vector<double> likeness = likeness_to_rest();
    int32_t best = -1;
    for (int32_t t = 0; t < std::ssize(likeness); ++t) {
      const bool chosen = std::any_of(parts_.begin(), parts_.end(), [&](const auto& p) { return p.token == t; });
      if (likeness[t] > (best < 0 ? 0 : likeness[best]) && !chosen) best = t;
    }
    if (best < 0) return false;
    Tensor w = Tensor::empty({d_});
    const Model& model = *dictionary_.model;
    model.context().kernels.unpack(model.weights().unembed.view, best, best + 1, 1, d_, w.f32());
    Tensor v = through(&dictionary_.map, w).clone();
    for (int64_t i = 0; i < d_; ++i) v.f32()[i] = static_cast<float>(v.f32()[i] / dictionary_.length[best]);
    vectors_.push_back(std::move(v));
    parts_.push_back({best, 0});
    return true;
  }

  // One step of steepest descent on |h - sum|^2 over the coefficients that may move.
  void move() {
    std::vector<double> g(parts_.size()), along(d_, 0.0);
    for (size_t k = 0; k < parts_.size(); ++k) {
      for (int64_t i = 0; i < d_; ++i) g[k] += vectors_[k].f32()[i] * left_[i];
      if (parts_[k].coefficient <= 0 && g[k] < 0) g[k] = 0;
      for (int64_t i = 0; i < d_; ++i) along[i] += g[k] * vectors_[k].f32()[i];
    }
    double up = 0, down = 0;
    for (int64_t i = 0; i < d_; ++i) up += along[i] * left_[i], down += along[i] * along[i];
    if (down == 0) return;
    for (size_t k = 0; k < parts_.size(); ++k) parts_[k].coefficient = std::max(0.0, parts_[k].coefficient + up / down * g[k]);
    for (int64_t i = 0; i < d_; ++i) {
      left_[i] = h_[i];
      for (size_t k = 0; k < parts_.size(); ++k) left_[i] -= parts_[k].coefficient * vectors_[k].f32()[i];
    }
  }

  Decomposition result() {
    Decomposition out;
    double rest = 0;
    for (const double x : left_) rest += x * x;
    const double all = dot(h_, h_, d_);
    out.explained = all > 0 ? 1 - rest / all : 0;
    for (const auto& p : parts_)
      if (p.coefficient > 0) out.parts.push_back(p);
    std::stable_sort(out.parts.begin(), out.parts.end(),
                     [](const auto& a, const auto& b) { return a.coefficient > b.coefficient; });
    return out;
  }

 private:
  // (v_t . rest) / |v_t| for all tokens: W_U (1 + delta) rest.
  std::vector<double> likeness_to_rest() const {
    const Model& model = *dictionary_.model;
    const OpContext ctx = model.context();
    Tensor rest = Tensor::empty({1, d_}, ctx.arena);
    for (int64_t i = 0; i < d_; ++i) rest.f32()[i] = static_cast<float>(left_[i]);
    const Tensor mapped = apply_map(ctx, {dictionary_.map.delta, {}}, rest);
    const Tensor y = Linear::forward(ctx, {model.weights().unembed.view, Compute::kF32}, {mapped, {}, {}}, nullptr);
    std::vector<double> out(y.numel());
    for (size_t t = 0; t < out.size(); ++t) out[t] = dictionary_.length[t] > 0 ? y.f32()[t] / dictionary_.length[t] : 0;
    return out;
  }

  const LensDictionary& dictionary_;
  const float* h_;
  int64_t d_;
  std::vector<double> left_;
  std::vector<Decomposition::Part> parts_;
  std::vector<Tensor> vectors_;
};

}  // namespace

Decomposition decompose(const LensDictionary& dictionary, const float* h, int64_t k) {
  Pursuit pursuit(dictionary, h, dictionary.model->config().d_model);
  for (int64_t i = 0; i < k && pursuit.take_in(); ++i)
    for (int m = 0; m < kMoves; ++m) pursuit.move();
  return pursuit.result();
}

}  // namespace microtome
