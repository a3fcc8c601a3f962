#include "microtome/lens/logit_lens.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"

namespace microtome {
namespace {

// Rows whose logits are held at once: points x positions may be thousands, each with a vocabulary of logits.
constexpr int64_t kRowChunk = 64;

// Better: a larger logit, then a lower id.
bool better(const float* logits, int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; }

std::vector<int32_t> best(const float* logits, int64_t vocab, int64_t k) {
  std::vector<int32_t> heap;  // the worst kept token on top
  const auto order = [&](int32_t a, int32_t b) { return better(logits, a, b); };
  k = std::min(k, vocab);
  for (int32_t i = 0; i < vocab && k > 0; ++i) {
    if (std::isnan(logits[i])) continue;
    if (std::ssize(heap) < k) {
      heap.push_back(i);
      std::push_heap(heap.begin(), heap.end(), order);
    } else if (better(logits, i, heap.front())) {
      std::pop_heap(heap.begin(), heap.end(), order);
      heap.back() = i;
      std::push_heap(heap.begin(), heap.end(), order);
    }
  }
  std::sort_heap(heap.begin(), heap.end(), order);
  return heap;
}

// -1 if no logit is a number.
int32_t most_probable(const float* logits, int64_t vocab) {
  const std::vector<int32_t> first = best(logits, vocab, 1);
  return first.empty() ? -1 : first[0];
}

// One row of logits, and the logarithm of the sum of its exponentials.
struct LogitRow {
  const float* logits;
  double log_sum_exp;
  double logprob(int64_t i) const { return logits[i] - log_sum_exp; }
};

// Probabilities of rows of logits [n, V], in double: those of the final point serve every other point.
std::vector<double> probabilities(const Tensor& logits, const std::vector<double>& log_sum_exp) {
  const int64_t vocab = logits.size(1);
  std::vector<double> p(logits.numel());
  parallel_for(logits.size(0), 1, [&](int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; ++r) {
      const LogitRow row{logits.f32() + r * vocab, log_sum_exp[r]};
      for (int64_t i = 0; i < vocab; ++i) p[r * vocab + i] = std::exp(row.logprob(i));
    }
  });
  return p;
}

// Sums run in double over the vocabulary in order: the same digits whatever the threads. What is not a number stays visible.
void fill_cell(const LogitRow& row, const LogitRow& final_row, const double* final_p, int64_t vocab, int64_t top, int32_t target,
               LensCell& cell) {
  double mean_logprob = 0, kl = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    const double logprob = row.logprob(i), p = std::exp(logprob), q = final_p[i];
    if (p != 0) mean_logprob += p * logprob;
    if (q != 0) kl += q * (final_row.logprob(i) - logprob);
  }
  cell.entropy = -mean_logprob;
  cell.kl_to_final = kl;
  for (const int32_t id : best(row.logits, vocab, top)) cell.top.push_back({id, row.logprob(id)});
  cell.target = target;
  if (target < 0) return;
  cell.target_logprob = row.logprob(target);
  cell.target_rank = 1;
  for (int32_t i = 0; i < vocab; ++i) cell.target_rank += better(row.logits, i, target);
}

Tensor copy_rows(const OpContext& ctx, const Tensor& x, const std::vector<int32_t>& rows) {
  return GatherRows::forward(ctx, {rows, x.size(0)}, {x}, nullptr);
}

}  // namespace

std::vector<Site> lens_points(const Config& config, bool all_points) {
  std::vector<Site> points;
  for (int l = 0; l < config.n_layers; ++l) {
    points.push_back({SiteKind::kResidPre, l});
    if (all_points && config.has_resid_mid()) points.push_back({SiteKind::kResidMid, l});
  }
  if (config.n_layers > 0) points.push_back({SiteKind::kResidPost, static_cast<int>(config.n_layers) - 1});
  else points.push_back({SiteKind::kEmbed, -1});
  return points;
}

LensResult logit_lens(const Model& model, const Batch& batch, Plan& plan, const LensOptions& options, Progress* progress) {
  LensResult result;
  result.points = lens_points(model.config(), options.all_points);
  result.rows = options.rows;
  if (result.rows.empty())
    for (int32_t r = 0; r < batch.rows(); ++r) result.rows.push_back(r);
  const OpContext ctx = model.context();
  std::vector<Tensor> streams(result.points.size());
  for (size_t p = 0; p + 1 < result.points.size(); ++p)
    plan.read(result.points[p],
              [&streams, &result, ctx, p](const SiteValue& v) { streams[p] = copy_rows(ctx, v.data, result.rows); });
  plan.logit_rows = LogitRows::kNone;
  const Forward out = forward(model, {.batch = batch, .plan = &plan, .progress = progress});
  streams.back() = copy_rows(ctx, out.residual.data, result.rows);
  std::vector<int32_t> targets(result.rows.size(), -1);
  if (!options.targets.empty())
    for (size_t i = 0; i < targets.size(); ++i) targets[i] = options.targets[result.rows[i]];
  result.streams = streams;
  if (options.lens) {
    for (const LensCell& cell : lens_cells(model, streams, {.top = 0}, std::vector<int32_t>(result.rows.size(), -1), progress))
      result.kl_logit_lens.push_back(cell.kl_to_final);
    for (size_t p = 0; p + 1 < streams.size(); ++p) streams[p] = options.lens->apply(ctx, static_cast<int64_t>(p), streams[p]);
  }
  result.cells = lens_cells(model, streams, options, targets, progress);
  return result;
}

std::vector<LensCell> lens_cells(const Model& model, const std::vector<Tensor>& streams, const LensOptions& options,
                                 const std::vector<int32_t>& row_targets, Progress* progress) {
  const int64_t points = std::ssize(streams), rows = streams.back().size(0), vocab = model.config().vocab;
  std::vector<LensCell> cells(points * rows);
  if (progress) progress->begin("logit lens", static_cast<double>(points * rows));
  for (int64_t begin = 0; begin < rows; begin += kRowChunk) {
    const int64_t end = std::min(rows, begin + kRowChunk), n = end - begin;
    const Tensor final_logits = unembed(model, streams.back().slice(begin, end));
    std::vector<double> final_lse(n), lse(n);
    const OpContext ctx = model.context();
    ctx.kernels.log_sum_exp(n, vocab, final_logits.f32(), final_lse.data());
    const std::vector<double> final_p = probabilities(final_logits, final_lse);
    std::vector<int32_t> targets(row_targets.begin() + begin, row_targets.begin() + end);
    if (options.target_final)
      for (int64_t r = 0; r < n; ++r) targets[r] = most_probable(final_logits.f32() + r * vocab, vocab);
    for (int64_t p = points - 1; p >= 0; --p) {
      const Tensor logits = p + 1 == points ? final_logits : unembed(model, streams[p].slice(begin, end));
      ctx.kernels.log_sum_exp(n, vocab, logits.f32(), lse.data());
      parallel_for(n, 1, [&](int64_t r0, int64_t r1) {
        for (int64_t r = r0; r < r1; ++r)
          fill_cell({logits.f32() + r * vocab, lse[r]}, {final_logits.f32() + r * vocab, final_lse[r]},
                    final_p.data() + r * vocab, vocab, options.top, targets[r], cells[p * rows + begin + r]);
      });
      if (progress) progress->step(static_cast<double>(n));
    }
  }
  if (progress) progress->end();
  return cells;
}

}  // namespace microtome
