#include "microtome/circuits/heads/token_maps.h"

#include <algorithm>
#include <numeric>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/head_weights.h"
#include "microtome/circuits/algebra/spectra.h"
#include "microtome/circuits/algebra/vocabulary.h"
#include "microtome/circuits/tasks/ordered_class.h"
#include "microtome/circuits/tasks/prompt.h"
#include "microtome/kernels/gemm.h"

namespace microtome::heads {
namespace {

constexpr int64_t kRowsAtOnce = 64;

std::vector<int32_t> single_tokens(const TaskSource& source, const OrderedClass& c) {
  std::vector<int32_t> out;
  for (const char* word : c.members) {
    const auto id = single_token(source, std::string(" ") + word);
    if (!id) return {};
    out.push_back(*id);
  }
  return out;
}

double dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// x [n, D] through one head's OV, [n, D].
std::vector<float> through_ov(const algebra::HeadWeights& h, const float* x, int64_t n) {
  std::vector<float> v(static_cast<size_t>(n * h.k)), out(static_cast<size_t>(n * h.d));
  gemm_plain(x, h.w_v.data(), v.data(), n, h.d, h.k);
  gemm_plain(v.data(), h.w_o.data(), out.data(), n, h.k, h.d);
  return out;
}

// For each word the class's word that the head writes most.
std::vector<size_t> written(const algebra::HeadWeights& h, const Tensor& x, const std::vector<float>& columns) {
  const int64_t n = x.size(0), d = x.size(1);
  const std::vector<float> out = through_ov(h, x.f32(), n);
  std::vector<size_t> best;
  for (int64_t i = 0; i < n; ++i) {
    std::vector<double> logits;
    for (int64_t j = 0; j < n; ++j) logits.push_back(dot(out.data() + i * d, columns.data() + j * d, d));
    best.push_back(static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
  }
  return best;
}

// Share of places of `order` at which the written word is the next one of the order.
double share_of_next(const std::vector<size_t>& best, const std::vector<size_t>& order, bool cyclic) {
  const size_t n = order.size(), counted = cyclic ? n : n - 1;
  double right = 0;
  for (size_t i = 0; i < counted; ++i) right += best[order[i]] == order[(i + 1) % n] ? 1 : 0;
  return right / static_cast<double>(counted);
}

// Share of the tokens whose own column is among the `lowest` of their row.
double own_among_lowest(const algebra::HeadWeights& h, const algebra::Vocabulary& vocabulary, const Tensor& x,
                        const std::vector<int32_t>& tokens, int lowest) {
  const int64_t n = x.size(0), v = vocabulary.size();
  std::vector<float> left(static_cast<size_t>(n * h.k));
  gemm_plain(x.f32(), h.w_v.data(), left.data(), n, h.d, h.k);
  const Tensor wide = vocabulary.unembed_product(h.w_o.data(), h.k);
  const algebra::PackedPlain right = algebra::pack_matrix(wide.f32(), h.k, v);
  std::vector<char> hit(static_cast<size_t>(n));
  std::vector<float> rows(static_cast<size_t>(kRowsAtOnce * v));
  for (int64_t first = 0; first < n; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, n - first);
    gemm(left.data() + first * h.k, count, right.view, rows.data());
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float* row = rows.data() + i * v;
        const float own = row[tokens[first + i]];
        // Itself included; a head that writes nothing lowers nothing.
        hit[first + i] = std::count_if(row, row + v, [own](float value) { return value <= own; }) <= lowest;
      }
    });
  }
  return static_cast<double>(std::count(hit.begin(), hit.end(), 1)) / static_cast<double>(n);
}

std::vector<int32_t> sample_of(int64_t vocab, int64_t n, uint64_t seed) {
  std::vector<int32_t> all(static_cast<size_t>(vocab));
  std::iota(all.begin(), all.end(), 0);
  if (n >= vocab) return all;
  const Philox rng(seed, "heads.suppression");
  for (int64_t i = 0; i < n; ++i)
    std::swap(all[i], all[i + static_cast<int64_t>(rng.below(static_cast<uint64_t>(vocab - i), i))]);
  all.resize(n);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

Tensor effective_embeddings(const Model& model, const std::vector<int32_t>& tokens) {
  const int64_t n = std::ssize(tokens), d = model.config().d_model;
  Batch batch;
  for (const int32_t t : tokens) batch.add_sequence(std::vector<int32_t>{t});
  Tensor stream = Tensor::empty({n, d}), out = Tensor::empty({n, d});
  for (int64_t i = 0; i < n; ++i) unpack(model.weights().embed.view, tokens[i], tokens[i] + 1, 1, d, stream.f32() + i * d);
  Plan plan;
  plan.stop_after_layer = 0;
  plan.read({SiteKind::kResidPost, 0}, [&](const SiteValue& v) { std::copy_n(v.data.f32(), n * d, out.f32()); });
  forward(model, {.batch = batch, .plan = &plan, .residual = Value(stream)});
  if (algebra::centred_view(model.config())) algebra::centre_rows(out.f32(), n, d);
  return out;
}

std::vector<float> unembed_rows(const Model& model, const std::vector<int32_t>& tokens) {
  const Config& c = model.config();
  const int64_t n = std::ssize(tokens), d = c.d_model;
  std::vector<float> out(static_cast<size_t>(n * d));
  for (int64_t i = 0; i < n; ++i) unpack(model.weights().unembed.view, tokens[i], tokens[i] + 1, 1, d, out.data() + i * d);
  const Vector& gamma = model.weights().final_norm.gamma;
  if (c.final_norm && gamma.present())
    for (int64_t i = 0; i < n * d; ++i) out[i] *= gamma.data.f32()[i % d];
  if (algebra::centred_view(c)) algebra::centre_rows(out.data(), n, d);
  return out;
}

MapScores successor_scores(const Model& model, uint64_t seed) {
  const TaskSource source{model.config(), model.tokenizer()};
  need_tokenizer(source, "successor");
  const auto heads = algebra::read_heads(model);
  MapScores out{.scores = std::vector<double>(heads.size()), .control = std::vector<double>(heads.size())};
  for (const OrderedClass& c : ordered_classes()) {
    const std::vector<int32_t> tokens = single_tokens(source, c);
    if (tokens.empty()) continue;
    out.classes.emplace_back(c.name);
    out.tokens += std::ssize(tokens);
    const Tensor x = effective_embeddings(model, tokens);
    const std::vector<float> columns = unembed_rows(model, tokens);
    std::vector<size_t> order(tokens.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const std::vector<size_t> mixed = shuffled(tokens.size(), seed, "heads.successor", out.classes.size());
    parallel_for(std::ssize(heads), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const std::vector<size_t> best = written(heads[i], x, columns);
        out.scores[i] += share_of_next(best, order, c.cyclic);
        out.control[i] += share_of_next(best, mixed, c.cyclic);
      }
    });
  }
  if (out.classes.empty())
    throw Error(ErrorKind::kUnsupported,
                "successor: this model's tokenizer has none of the ordered classes (days, months, ...) as single tokens");
  for (std::vector<double>* all : {&out.scores, &out.control})
    for (double& s : *all) s /= static_cast<double>(out.classes.size());
  return out;
}

MapScores suppression_scores(const Model& model, const SuppressionOptions& o, Progress* progress) {
  const algebra::Vocabulary vocabulary(model, algebra::EmbeddingKind::kToken);
  const auto heads = algebra::read_heads(model);
  const std::vector<int32_t> tokens = sample_of(model.config().vocab, o.tokens, o.seed);
  const Tensor x = effective_embeddings(model, tokens);
  MapScores out{.tokens = std::ssize(tokens)};
  if (progress) progress->begin("copy suppression", static_cast<double>(std::ssize(heads) + o.random_heads));
  const auto score = [&](const algebra::HeadWeights& h) {
    if (progress) progress->step();
    return own_among_lowest(h, vocabulary, x, tokens, o.lowest);
  };
  for (const algebra::HeadWeights& h : heads) out.scores.push_back(score(h));
  for (int i = 0; i < o.random_heads; ++i)
    out.control.push_back(score(algebra::random_head(model.config().d_model, model.config().d_head, o.seed, i)));
  if (progress) progress->end();
  return out;
}

}  // namespace microtome::heads
