#include "microtome/circuits/algebra/induction.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/composition.h"
#include "microtome/circuits/algebra/spectra.h"
#include "microtome/circuits/algebra/vocabulary.h"
#include "microtome/kernels/gemm.h"

namespace microtome::algebra {
namespace {

struct Prepared {
  MatrixF64 gram_q;  // W_Eᵀ W_E W_Q [D, K]
  MatrixF64 w_k;     // [D, K]
  MatrixF64 w_v;     // [D, K]
  MatrixF64 w_o;     // [K, D]
  double qk_norm = 0, ov_norm = 0;
};

// The K × K matrix (W_V1ᵀ Gram W_Q2)(W_K2ᵀ W_O1ᵀ) that shares its non-zero eigenvalues with the table.
MatrixF64 small(const Prepared& first, const Prepared& second) {
  return matmul(matmul_tn(first.w_v, second.gram_q), matmul_tn(second.w_k, microtome::transposed(first.w_o)));
}

// Its trace alone: Σ_ij (W_V1ᵀ Gram W_Q2)_ij (W_O1 W_K2)_ij.
double small_trace(const Prepared& first, const Prepared& second) {
  const MatrixF64 a = matmul_tn(first.w_v, second.gram_q), b = matmul(first.w_o, second.w_k);
  double sum = 0;
  for (size_t i = 0; i < a.data.size(); ++i) sum += a.data[i] * b.data[i];
  return sum;
}

// Of the earlier heads with the highest previous-token scores, the one of the largest share of the QK trace.
constexpr size_t kCandidates = 8;

std::vector<size_t> by_previous(std::span<const double> previous) {
  std::vector<size_t> order(previous.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return previous[a] > previous[b]; });
  return order;
}

InductionScore score(std::span<const HeadWeights> heads, const std::vector<Prepared>& prepared, std::span<const double> previous,
                     const std::vector<size_t>& order, size_t second) {
  InductionScore out{.id = heads[second].id};
  double most = 0;
  size_t via = heads.size(), seen = 0;
  for (const size_t e : order) {
    if (heads[e].id.layer >= out.id.layer) continue;
    const double share =
        prepared[e].ov_norm > 0 ? previous[e] * small_trace(prepared[e], prepared[second]) / prepared[e].ov_norm : 0;
    if (via == heads.size() || share > most) most = share, via = e;
    if (++seen == kCandidates) break;
  }
  out.via = heads[via].id;
  out.via_previous = previous[via];
  out.score = positivity(microtome::eigenvalues(small(prepared[via], prepared[second])));
  out.composition = composition_score(heads[via].ov(), transposed(heads[second].qk()));
  return out;
}

// tr(QK₂ Σ_e prev(e) OV_eᵀ Gram / norms) for every head; the sum over earlier heads grows layer by layer.
std::vector<double> qk_traces(std::span<const HeadWeights> heads, const std::vector<Prepared>& prepared,
                              std::span<const double> previous, const MatrixF64& gram, const Progress* progress) {
  const int64_t d = gram.rows;
  const double gram_norm = frobenius_norm(gram);
  std::map<int, std::vector<size_t>> layers;
  for (size_t i = 0; i < heads.size(); ++i) layers[heads[i].id.layer].push_back(i);
  std::vector<double> out(heads.size(), 0.0);
  MatrixF64 sum(d, d);  // Σ_e prev(e) OV_eᵀ / ‖OV_e‖
  for (const auto& [layer, members] : layers) {
    parallel_for(std::ssize(members), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (progress) progress->check();
        const Prepared& p = prepared[members[i]];
        const MatrixF64 right = matmul(sum, p.gram_q);  // [D, K]; tr(W_Kᵀ sum Gram W_Q)
        double t = 0;
        for (size_t j = 0; j < right.data.size(); ++j) t += right.data[j] * p.w_k.data[j];
        const double norms = p.qk_norm * gram_norm;
        out[members[i]] = norms > 0 ? t / norms : 0;
      }
    });
    for (const size_t e : members) {
      if (progress) progress->check();
      const Prepared& p = prepared[e];
      if (p.ov_norm <= 0) continue;
      const MatrixF64 ov = matmul_tn(p.w_o, microtome::transposed(p.w_v));  // OVᵀ
      for (size_t j = 0; j < ov.data.size(); ++j) sum.data[j] += previous[e] / p.ov_norm * ov.data[j];
    }
  }
  return out;
}

}  // namespace

std::vector<InductionScore> induction(std::span<const HeadWeights> heads, std::span<const double> previous,
                                      const MatrixF64& gram_embed, const MatrixF64& gram_copying, Progress* progress) {
  MT_CHECK_EQ(heads.size(), previous.size());
  if (heads.empty()) return {};
  const int64_t n = std::ssize(heads);
  std::vector<Prepared> prepared(heads.size());
  if (progress) progress->begin("weights of heads", static_cast<double>(n));
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Factored ov = heads[i].ov(), qk = heads[i].qk();
      prepared[i] = {matmul(gram_embed, qk.a), microtome::transposed(qk.b), ov.a, ov.b, frobenius_norm(qk), frobenius_norm(ov)};
      if (progress) progress->step();
    }
  });
  const int first_layer = std::min_element(heads.begin(), heads.end(), [](const HeadWeights& a, const HeadWeights& b) {
                            return a.id.layer < b.id.layer;
                          })->id.layer;
  const std::vector<HeadSpectrum> copies = copying(heads, gram_copying, progress);
  const std::vector<double> traces = qk_traces(heads, prepared, previous, gram_embed, progress);
  const std::vector<size_t> order = by_previous(previous);
  std::vector<InductionScore> all(heads.size());
  if (progress) progress->begin("induction", static_cast<double>(n));
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (heads[i].id.layer > first_layer) all[i] = score(heads, prepared, previous, order, i);
      if (progress) progress->step();
    }
  });
  std::vector<InductionScore> out;
  for (int64_t i = 0; i < n; ++i) {
    if (heads[i].id.layer <= first_layer) continue;
    all[i].copying = copies[i].score;
    all[i].qk_trace = traces[i];
    out.push_back(all[i]);
  }
  std::stable_sort(out.begin(), out.end(), [](const InductionScore& a, const InductionScore& b) { return a.score > b.score; });
  return out;
}

std::vector<double> previous_token_scores(const Model& model, uint64_t seed, Progress* progress) {
  const Config& c = model.config();
  const int64_t length = std::min<int64_t>(60, c.context);
  std::vector<double> out(static_cast<size_t>(c.n_layers * c.n_heads), 0.0);
  if (length < 2) return out;
  const Philox rng(seed, "previous-token");
  std::vector<int32_t> ids(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) ids[i] = static_cast<int32_t>(rng.below(c.vocab, i));
  Batch batch;
  batch.add_sequence(ids);
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  for (int l = 0; l < c.n_layers; ++l)
    plan.read({SiteKind::kPattern, l}, [&, l](const SiteValue& v) {
      for (int64_t h = 0; h < c.n_heads; ++h) {
        double sum = 0;
        for (int64_t i = 1; i < length; ++i) sum += v.data.f32()[(h * length + i) * length + i - 1];
        out[l * c.n_heads + h] = sum / static_cast<double>(length - 1);
      }
    });
  forward(model, {.batch = batch, .plan = &plan, .progress = progress});
  return out;
}

}  // namespace microtome::algebra
