#include "microtome/circuits/algebra/token_tables.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

#include "microtome/circuits/algebra/table_stream.h"
#include "microtome/kernels/fused.h"

namespace microtome::algebra {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

bool before(const TokenPair& a, const TokenPair& b) {
  if (a.value != b.value) return a.value > b.value;
  return a.row != b.row ? a.row < b.row : a.column < b.column;
}

// The n best pairs seen; keeps up to twice as many between clean-ups.
class Best {
 public:
  explicit Best(int64_t n) : n_(static_cast<size_t>(n)) { pairs_.reserve(2 * n_); }
  float threshold() const { return threshold_; }
  void add(const TokenPair& p) {
    pairs_.push_back(p);
    if (pairs_.size() >= 2 * n_) trim();
  }
  void trim() {
    if (pairs_.size() < n_) return;
    std::nth_element(pairs_.begin(), pairs_.begin() + static_cast<int64_t>(n_) - 1, pairs_.end(), before);
    pairs_.resize(n_);
    threshold_ = pairs_.back().value;
  }
  void raise(float threshold) { threshold_ = std::max(threshold_, threshold); }
  std::vector<TokenPair>& pairs() { return pairs_; }

 private:
  size_t n_;
  float threshold_ = kLowest;
  std::vector<TokenPair> pairs_;
};

// x [V, K] turned into columns and packed: [K, V].
PackedPlain pack_columns(const Tensor& x, float factor) {
  const int64_t v = x.size(0), k = x.size(1);
  std::vector<float> turned(static_cast<size_t>(v * k));
  parallel_for(k, 1, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j)
      for (int64_t t = 0; t < v; ++t) turned[j * v + t] = x.f32()[t * k + j] * factor;
  });
  return pack_matrix(turned.data(), k, v);
}

void add_bias(Tensor& x, const std::vector<float>& bias) {
  const int64_t k = x.size(1);
  for (int64_t t = 0; t < x.size(0); ++t)
    for (int64_t j = 0; j < k; ++j) x.f32()[t * k + j] += bias[j];
}

void centre_over_rows(Tensor& x) {
  const int64_t v = x.size(0), k = x.size(1);
  std::vector<double> mean(k, 0.0);
  for (int64_t t = 0; t < v; ++t)
    for (int64_t j = 0; j < k; ++j) mean[j] += x.f32()[t * k + j];
  for (int64_t t = 0; t < v; ++t)
    for (int64_t j = 0; j < k; ++j)
      x.f32()[t * k + j] = static_cast<float>(x.f32()[t * k + j] - mean[j] / static_cast<double>(v));
}

Tensor chosen_rows(const Tensor& x, const std::vector<int32_t>& rows) {
  const int64_t k = x.size(1);
  Tensor out = Tensor::empty({static_cast<int64_t>(rows.size()), k});
  for (size_t i = 0; i < rows.size(); ++i) std::copy_n(x.f32() + rows[i] * k, k, out.f32() + static_cast<int64_t>(i) * k);
  return out;
}

}  // namespace

TokenTable ov_table(const HeadWeights& h, const Vocabulary& vocabulary) {
  const Tensor right = vocabulary.unembed_product(h.w_o.data(), h.k);
  return {vocabulary.embed_product(h.w_v.data(), h.k), pack_matrix(right.f32(), h.k, vocabulary.size()), vocabulary.progress()};
}

TokenTable qk_table(const HeadWeights& h, const Vocabulary& vocabulary, bool centred) {
  Tensor queries = vocabulary.embed_product(h.w_q.data(), h.k), keys = vocabulary.embed_product(h.w_k.data(), h.k);
  add_bias(queries, h.b_q);
  add_bias(keys, h.b_k);
  if (centred) centre_over_rows(keys);
  return {keys, pack_columns(queries, h.scale), vocabulary.progress()};
}

std::vector<TokenPair> top_pairs(const TokenTable& whole, int64_t n, const std::vector<int32_t>& rows, Progress* progress) {
  if (n <= 0) return {};
  TokenTable table = whole;
  if (!rows.empty()) table.left = chosen_rows(whole.left, rows);
  n = std::min(n, table.rows() * table.cols());
  std::vector<Best> best(static_cast<size_t>(table_pieces(table)), Best(n));
  std::atomic<float> shared{kLowest};  // some piece has n pairs of at least this value: a true bound, whoever finds it first
  stream_table(table, progress, [&](const TableBlock& b) {
    Best& own = best[b.piece];
    own.raise(shared.load(std::memory_order_relaxed));
    for (int64_t r = 0; r < b.rows; ++r)
      scan_row(
          b.values + r * b.columns, b.columns, [&] { return own.threshold(); },
          [&](int64_t j, float value) {
            own.add({static_cast<int32_t>(b.row + r), static_cast<int32_t>(b.column + j), value});
          });
    own.trim();
    float seen = shared.load(std::memory_order_relaxed);
    while (own.threshold() > seen && !shared.compare_exchange_weak(seen, own.threshold(), std::memory_order_relaxed)) {}
  });
  std::vector<TokenPair> all;
  for (Best& b : best) all.insert(all.end(), b.pairs().begin(), b.pairs().end());
  if (!rows.empty())
    for (TokenPair& p : all) p.row = rows[p.row];
  std::sort(all.begin(), all.end(), before);
  if (static_cast<int64_t>(all.size()) > n) all.resize(n);
  return all;
}

std::vector<TokenPair> top_of_rows(const TokenTable& table, int64_t k, Progress* progress) {
  std::vector<TokenPair> out(static_cast<size_t>(table.rows() * k));
  for (size_t i = 0; i < out.size(); ++i) out[i] = {static_cast<int32_t>(static_cast<int64_t>(i) / k), -1, kLowest};
  stream_table(table, progress, [&](const TableBlock& b) {
    for (int64_t r = 0; r < b.rows; ++r) {
      TokenPair* row = out.data() + (b.row + r) * k;
      scan_row(
          b.values + r * b.columns, b.columns, [&] { return row[k - 1].value; },
          [&](int64_t j, float value) {
            const TokenPair p{static_cast<int32_t>(b.row + r), static_cast<int32_t>(b.column + j), value};
            if (!before(p, row[k - 1]) && row[k - 1].column >= 0) return;
            int64_t at = k - 1;
            for (; at > 0 && (row[at - 1].column < 0 || before(p, row[at - 1])); --at) row[at] = row[at - 1];
            row[at] = p;
          });
    }
  });
  return out;
}

double share_with_own(const TokenTable& table, int64_t k, Progress* progress) {
  const int64_t v = table.rows();
  std::vector<float> own(static_cast<size_t>(v));
  stream_table(table, nullptr, [&](const TableBlock& b) {
    for (int64_t r = 0; r < b.rows; ++r)
      if (const int64_t j = b.row + r - b.column; j >= 0 && j < b.columns) own[b.row + r] = b.values[r * b.columns + j];
  });
  std::vector<int64_t> above(static_cast<size_t>(v), 0);
  stream_table(table, progress, [&](const TableBlock& b) {
    for (int64_t r = 0; r < b.rows; ++r) {
      const float* values = b.values + r * b.columns;
      const float least = own[b.row + r];
      int count = 0;
      for (int64_t j = 0; j < b.columns; ++j) count += static_cast<int>(values[j] > least);
      above[b.row + r] += count;
    }
  });
  return static_cast<double>(std::count_if(above.begin(), above.end(), [&](int64_t a) { return a < k; })) /
         static_cast<double>(v);
}

std::vector<SkipTrigram> skip_trigrams(const HeadWeights& head, const Vocabulary& vocabulary, const SkipTrigramOptions& options,
                                       Progress* progress) {
  const int64_t per = std::min(options.per_source, vocabulary.size());
  if (per <= 0 || options.top <= 0) return {};
  const std::vector<TokenPair> qk = top_of_rows(qk_table(head, vocabulary, true), per, progress);
  const std::vector<TokenPair> ov = top_of_rows(ov_table(head, vocabulary), per, progress);
  std::vector<SkipTrigram> found;
  for (int64_t source = 0; source < vocabulary.size(); ++source)
    for (int64_t i = 0; i < per; ++i)
      for (int64_t j = 0; j < per; ++j) {
        const TokenPair &a = qk[source * per + i], &c = ov[source * per + j];
        if (a.column < 0 || c.column < 0 || a.value <= 0 || c.value <= 0) continue;
        const double score = static_cast<double>(a.value) * c.value;
        found.push_back({static_cast<int32_t>(source), a.column, c.column, a.value, c.value, score});
      }
  std::stable_sort(found.begin(), found.end(), [](const SkipTrigram& x, const SkipTrigram& y) { return x.score > y.score; });
  if (static_cast<int64_t>(found.size()) > options.top) found.resize(options.top);
  for (size_t i = 0; i < found.size(); ++i) {
    SkipTrigram& t = found[i];
    for (size_t j = 0; j < i; ++j) {
      if (found[j].source != t.source) continue;
      if (found[j].destination == t.destination && t.forced_output < 0) t.forced_output = found[j].output;
      if (found[j].output == t.output && t.forced_destination < 0) t.forced_destination = found[j].destination;
    }
    t.forced = t.forced_output >= 0 && t.forced_destination >= 0;
  }
  return found;
}

std::vector<Bigram> bigrams(const Vocabulary& vocabulary, const BigramOptions& options, Progress* progress) {
  constexpr int64_t kSourcesAtOnce = 64;
  std::vector<int32_t> sources = options.sources;
  const int64_t v = vocabulary.size(), d = vocabulary.d();
  if (sources.empty()) {
    sources.resize(v);
    std::iota(sources.begin(), sources.end(), 0);
  }
  const int64_t n = static_cast<int64_t>(sources.size()), top = std::max<int64_t>(1, options.top);
  const int64_t per = options.per_source > 0 ? std::min(options.per_source, v) : std::min(top, v);
  std::vector<Bigram> found;
  double bound = -std::numeric_limits<double>::infinity();  // of the `top` best so far
  std::vector<float> x(static_cast<size_t>(kSourcesAtOnce * d));
  if (progress) progress->begin("bigrams", static_cast<double>(n));
  const auto by_probability = [](const Bigram& a, const Bigram& b) {
    if (a.logprob != b.logprob) return a.logprob > b.logprob;
    return a.source != b.source ? a.source < b.source : a.target < b.target;
  };
  for (int64_t begin = 0; begin < n; begin += kSourcesAtOnce) {
    const int64_t count = std::min(kSourcesAtOnce, n - begin);
    for (int64_t i = 0; i < count; ++i) vocabulary.embed_rows(sources[begin + i], sources[begin + i] + 1, x.data() + i * d);
    const Tensor logits = vocabulary.zero_layer_logits(x.data(), count);
    std::vector<double> lse(static_cast<size_t>(count));
    log_sum_exp(count, v, logits.f32(), lse.data());
    std::vector<Best> best(static_cast<size_t>(count), Best(per));
    parallel_for(count, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        best[i].raise(std::nextafter(static_cast<float>(bound + lse[i]), kLowest));
        scan_row(
            logits.f32() + i * v, v, [&] { return best[i].threshold(); },
            [&](int64_t t, float value) {
              best[i].add({sources[begin + i], static_cast<int32_t>(t), value});
            });
        best[i].trim();
      }
    });
    for (int64_t i = 0; i < count; ++i) {
      auto& pairs = best[i].pairs();
      std::sort(pairs.begin(), pairs.end(), before);
      for (size_t j = 0; j < pairs.size() && static_cast<int64_t>(j) < per; ++j)
        found.push_back({pairs[j].row, pairs[j].column, pairs[j].value - lse[i]});
    }
    std::sort(found.begin(), found.end(), by_probability);
    if (static_cast<int64_t>(found.size()) >= top) found.resize(top), bound = found.back().logprob;
    if (progress) progress->step(static_cast<double>(count));
  }
  return found;
}

}  // namespace microtome::algebra
