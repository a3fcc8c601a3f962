#include "microtome/circuits/heads/suppression.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "microtome/base/threads.h"
#include "microtome/circuits/heads/token_maps.h"
#include "microtome/circuits/sweep.h"
#include "microtome/kernels/gemm.h"

namespace microtome::heads {
namespace {

constexpr int64_t kLogitRows = 128;

// What a head reads and writes on one text.
struct Seen {
  std::vector<int32_t> ids;
  std::vector<float> values, z;  // [T, K]
  std::vector<float> pattern;    // [T, T]
  std::vector<float> predicted;  // [T, tokens]: logits of the text's different tokens, from the head's input
  std::vector<int32_t> tokens;   // rising

  int64_t length() const { return static_cast<int64_t>(ids.size()); }
  float predicts(int64_t at, int64_t source) const {
    const auto token = std::lower_bound(tokens.begin(), tokens.end(), ids[source]) - tokens.begin();
    return predicted[at * std::ssize(tokens) + token];
  }
};

std::vector<float> of_head(const Tensor& x, int64_t head) {
  const int64_t heads = x.size(1), width = x.size(2);
  std::vector<float> out;
  for (int64_t i = 0; i < x.size(0); ++i) {
    const float* row = x.f32() + (i * heads + head) * width;
    out.insert(out.end(), row, row + width);
  }
  return out;
}

Seen look(const Model& model, const std::vector<int32_t>& ids, const algebra::HeadId& id, const Plan* edits) {
  const Config& c = model.config();
  Seen s{.ids = ids};
  const std::set<int32_t> different(ids.begin(), ids.end());
  s.tokens.assign(different.begin(), different.end());
  Tensor stream;
  Plan plan = edited_plan(edits);
  plan.logit_rows = LogitRows::kNone;
  plan.stop_after_layer = id.layer;
  plan.read({SiteKind::kResidPre, id.layer}, [&](const SiteValue& v) { stream = v.data.clone(); });
  plan.read({SiteKind::kV, id.layer},
            [&](const SiteValue& v) { s.values = of_head(v.data, id.head * c.n_kv_heads / c.n_heads); });
  plan.read({SiteKind::kZ, id.layer}, [&](const SiteValue& v) { s.z = of_head(v.data, id.head); });
  plan.read({SiteKind::kPattern, id.layer}, [&](const SiteValue& v) {
    const int64_t cells = s.length() * s.length();
    s.pattern.assign(v.data.f32() + id.head * cells, v.data.f32() + (id.head + 1) * cells);
  });
  Batch batch;
  batch.add_sequence(ids);
  forward(model, {.batch = batch, .plan = &plan});
  const Tensor logits = unembed(model, stream, s.tokens);
  s.predicted.assign(logits.f32(), logits.f32() + logits.numel());
  return s;
}

// Of the sources that position i sees, those that are predicted there.
std::vector<int64_t> predicted_sources(const Seen& s, int64_t i, double share) {
  std::vector<float> logits;
  for (int64_t j = 0; j <= i; ++j) logits.push_back(s.predicts(i, j));
  std::vector<float> order = logits;
  const auto kept = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(share * static_cast<double>(i + 1))));
  std::nth_element(order.begin(), order.begin() + (kept - 1), order.end(), std::greater<>());
  std::vector<int64_t> out;
  for (int64_t j = 0; j <= i; ++j)
    if (logits[j] >= order[kept - 1]) out.push_back(j);
  return out;
}

// m at every position, plus what CSPA keeps, [T, 1, D].
Tensor preserved(const Model& model, const algebra::HeadWeights& h, const Seen& s, const std::vector<float>& m, double share) {
  const int64_t t = s.length(), d = h.d;
  std::vector<float> written(static_cast<size_t>(t * d)), own = unembed_rows(model, s.ids);
  gemm_plain(s.values.data(), h.w_o.data(), written.data(), t, h.k, d);
  std::vector<double> along(static_cast<size_t>(t));
  for (int64_t j = 0; j < t; ++j) {
    double dot = 0, square = 0;
    for (int64_t x = 0; x < d; ++x) {
      dot += (static_cast<double>(written[j * d + x]) - m[x]) * own[j * d + x];
      square += static_cast<double>(own[j * d + x]) * own[j * d + x];
    }
    along[j] = square > 0 ? std::min(0.0, dot / square) : 0;
  }
  Tensor out = Tensor::empty({t, 1, d});
  parallel_for(t, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::vector<double> row(m.begin(), m.end());
      for (const int64_t j : predicted_sources(s, i, share)) {
        const double factor = along[j] * s.pattern[i * t + j];
        for (int64_t x = 0; x < d; ++x) row[x] += factor * own[j * d + x];
      }
      std::copy(row.begin(), row.end(), out.f32() + i * d);
    }
  });
  return out;
}

// KL(p || q) of the rows, [n].
void add_divergences(const Tensor& p, const Tensor& q, double* out) {
  const int64_t v = p.size(1);
  const auto log_sum = [v](const float* row) {
    const double top = *std::max_element(row, row + v);
    double sum = 0;
    for (int64_t x = 0; x < v; ++x) sum += std::exp(row[x] - top);
    return top + std::log(sum);
  };
  parallel_for(p.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float *a = p.f32() + i * v, *b = q.f32() + i * v;
      const double za = log_sum(a), zb = log_sum(b);
      double sum = 0;
      for (int64_t x = 0; x < v; ++x) sum += std::exp(a[x] - za) * ((a[x] - za) - (b[x] - zb));
      out[i] = sum;
    }
  });
}

// Sum over positions of KL(as it is || with the head's output replaced).
double divergence(const Model& model, const std::vector<int32_t>& ids, const TextRun& base, const Plan* edits, Edit replaced) {
  Plan plan = edited_plan(edits);
  plan.edit(std::move(replaced));
  const TextRun other(model, ids, std::move(plan));
  const auto t = std::ssize(ids);
  std::vector<double> rows(static_cast<size_t>(t));
  for (int64_t begin = 0; begin < t; begin += kLogitRows) {
    const int64_t end = std::min<int64_t>(t, begin + kLogitRows);
    add_divergences(base.logits(begin, end), other.logits(begin, end), rows.data() + begin);
  }
  double sum = 0;
  for (const double x : rows) sum += x;
  return sum;
}

// The head's mean output, [D].
std::vector<float> mean_output(const algebra::HeadWeights& h, const std::vector<Seen>& seen) {
  std::vector<double> z(static_cast<size_t>(h.k));
  double positions = 0;
  for (const Seen& s : seen) {
    for (size_t i = 0; i < s.z.size(); ++i) z[i % z.size()] += s.z[i];
    positions += static_cast<double>(s.length());
  }
  std::vector<float> mean, out(static_cast<size_t>(h.d));
  for (const double x : z) mean.push_back(static_cast<float>(x / positions));
  gemm_plain(mean.data(), h.w_o.data(), out.data(), 1, h.k, h.d);
  return out;
}

}  // namespace

std::vector<Suppression> suppression_explained(const Model& model, std::span<const ProbeText> texts,
                                               std::span<const algebra::HeadId> heads, const SuppressionExplainedOptions& o,
                                               Progress* progress) {
  if (progress) progress->begin("copy suppression, kept", static_cast<double>(heads.size()));
  std::vector<std::vector<int32_t>> ids;
  std::vector<TextRun> base;
  double positions = 0;
  for (const ProbeText& t : texts) {
    ids.emplace_back(t.ids.begin(), t.ids.begin() + std::min(o.positions, t.length()));
    base.emplace_back(model, ids.back(), edited_plan(o.edits), progress);
    positions += static_cast<double>(ids.back().size());
  }
  std::vector<Suppression> out;
  for (const algebra::HeadId& id : heads) {
    const algebra::HeadWeights h = algebra::read_heads(model, {{id}})[0];
    std::vector<Seen> seen;
    for (const auto& text : ids) seen.push_back(look(model, text, id, o.edits));
    const std::vector<float> m = mean_output(h, seen);
    const Site site{SiteKind::kResult, id.layer};
    const Slice where{.head = Range{id.head, id.head + 1}};
    Suppression s{.head = id};
    for (size_t i = 0; i < ids.size(); ++i) {
      if (progress) progress->check();
      s.kl += divergence(model, ids[i], base[i], o.edits, set_edit(site, where, preserved(model, h, seen[i], m, o.share)));
      s.kl_mean += divergence(model, ids[i], base[i], o.edits, set_edit(site, where, Tensor::from(std::vector<float>(m), {h.d})));
    }
    s.kl /= positions;
    s.kl_mean /= positions;
    if (s.kl_mean > 0) s.explained = 1 - s.kl / s.kl_mean;
    out.push_back(s);
    if (progress) progress->step();
  }
  if (progress) progress->end();
  return out;
}

}  // namespace microtome::heads
