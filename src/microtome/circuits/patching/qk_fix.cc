#include "microtome/circuits/patching/qk_fix.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "microtome/ops/rows.h"

namespace microtome {
namespace {

Tensor rotated(const Model& model, const Tensor& x) {
  const auto table = model.rope_table(x.size(0) - 1);
  if (!table) return x;
  auto positions = std::make_shared<std::vector<int32_t>>(static_cast<size_t>(x.size(0)));
  std::iota(positions->begin(), positions->end(), 0);
  return call<Rope>(nullptr, model.context(), {table, positions}, Value(x)).data;
}

// sum_j (softmax(after)_j - softmax(before)_j) g_j over the n visible keys.
double row_change(const double* before, const double* after, const float* g, int64_t n) {
  const auto expected = [&](const double* s) {
    const double top = *std::max_element(s, s + n);
    double sum = 0, dot = 0;
    for (int64_t j = 0; j < n; ++j) {
      const double e = std::exp(s[j] - top);
      sum += e;
      dot += e * g[j];
    }
    return dot / sum;
  };
  return expected(after) - expected(before);
}

}  // namespace

QkFix::QkFix(PatchRuns& runs, size_t example, Site site, const Tensor& replaced, const Tensor& gradient)
    : keys_(site.kind == SiteKind::kK), gradient_(gradient) {
  const Config& c = runs.config();
  const Tensor q = rotated(runs.model(), runs.host_value(example, {SiteKind::kQ, site.layer}));
  const Tensor k = rotated(runs.model(), runs.host_value(example, {SiteKind::kK, site.layer}));
  const Tensor changed = rotated(runs.model(), replaced);
  length_ = q.size(0);
  heads_ = c.n_heads;
  group_ = c.n_heads / c.n_kv_heads;
  for (int64_t h = 0; h < heads_; ++h) {
    before_.push_back(scores_of(q, k, h));
    after_.push_back(keys_ ? scores_of(q, changed, h) : scores_of(changed, k, h));
    for (auto* scores : {&before_.back(), &after_.back()})
      for (double& s : *scores) s *= c.attention_scale;
  }
}

std::vector<double> QkFix::scores_of(const Tensor& q, const Tensor& k, int64_t head) const {
  const int64_t d = q.size(2), kv_heads = heads_ / group_;
  std::vector<double> out(static_cast<size_t>(length_ * length_), 0.0);
  for (int64_t i = 0; i < length_; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      const float *a = q.f32() + (i * heads_ + head) * d, *b = k.f32() + (j * kv_heads + head / group_) * d;
      double sum = 0;
      for (int64_t x = 0; x < d; ++x) sum += static_cast<double>(a[x]) * b[x];
      out[i * length_ + j] = sum;
    }
  return out;
}

double QkFix::score(const Cell& cell) const {
  if (!gradient_.defined()) return 0;
  int64_t begin = 0, end = heads_;
  if (cell.head) {
    begin = keys_ ? *cell.head * group_ : *cell.head;
    end = begin + (keys_ ? group_ : 1);
  }
  double sum = 0;
  for (int64_t h = begin; h < end; ++h) sum += head_score(h, cell.pos);
  return sum;
}

double QkFix::head_score(int64_t head, const std::optional<int64_t>& pos) const {
  const std::vector<double>&before = before_[head], &after = after_[head];
  const float* g = gradient_.f32() + head * length_ * length_;
  std::vector<double> row(static_cast<size_t>(length_));
  double sum = 0;
  for (int64_t i = 0; i < length_; ++i) {
    if (pos && (keys_ ? i < *pos : i != *pos)) continue;
    const double *b = before.data() + i * length_, *a = after.data() + i * length_;
    if (keys_ && pos) {
      // One key changes one column.
      std::copy(b, b + i + 1, row.begin());
      row[*pos] = a[*pos];
      a = row.data();
    }
    sum += row_change(b, a, g + i * length_, i + 1);
  }
  return sum;
}

}  // namespace microtome
