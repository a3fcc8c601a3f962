#include "microtome/circuits/algebra/composition.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/vocabulary.h"
#include "microtome/kernels/gemm.h"

namespace microtome::algebra {
namespace {

// Rows of a product made at once: bounds its memory.
constexpr int64_t kRowsPerProduct = 4096;

double norm_of(const float* values, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(values[i]) * values[i];
  return std::sqrt(sum);
}

// R W_O with RᵀR = W_Vᵀ W_V, [K, D]: as long as OV, and writes the same directions.
void written(const HeadWeights& h, float* out) {
  const Factored ov = h.ov();
  const MatrixF64 m = matmul(square_root_factor(matmul_tn(ov.a, ov.a)), ov.b);
  std::copy(m.data.begin(), m.data.end(), out);
}

// The near factor of Y times the root of the far one, [D, K], into columns [column, column + K) of rows `stride` apart.
void read_side(const HeadWeights& h, CompositionKind kind, float* out, int64_t stride) {
  const Factored y = kind == CompositionKind::kQ ? h.qk() : kind == CompositionKind::kK ? transposed(h.qk()) : h.ov();
  const MatrixF64 m = matmul_nt(y.a, square_root_factor(matmul_nt(y.b, y.b)));
  for (int64_t i = 0; i < h.d; ++i)
    for (int64_t j = 0; j < h.k; ++j) out[i * stride + j] = static_cast<float>(m(i, j));
}

struct Readers {
  std::vector<size_t> members;  // of one layer
  std::vector<float> side;      // [D, members K]
  std::vector<double> norms;    // ‖Y‖
};

Readers prepare(std::span<const HeadWeights> readers, const std::vector<size_t>& members, CompositionKind kind,
                const Progress* progress) {
  const int64_t d = readers[0].d, k = readers[0].k, n = static_cast<int64_t>(members.size());
  Readers r{members, std::vector<float>(static_cast<size_t>(d * n * k)), std::vector<double>(members.size())};
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (progress) progress->check();
      read_side(readers[members[i]], kind, r.side.data() + i * k, n * k);
    }
  });
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0;
    for (int64_t row = 0; row < d; ++row)
      for (int64_t j = 0; j < k; ++j) {
        const double x = r.side[(row * n + i) * k + j];
        sum += x * x;
      }
    r.norms[i] = std::sqrt(sum);
  }
  return r;
}

}  // namespace

const char* composition_name(CompositionKind kind) {
  return kind == CompositionKind::kQ ? "q" : kind == CompositionKind::kK ? "k" : "v";
}

std::vector<Composition> composition(std::span<const HeadWeights> writers, std::span<const HeadWeights> readers,
                                     std::span<const CompositionKind> kinds, Progress* progress) {
  std::vector<Composition> out;
  if (writers.empty() || readers.empty()) return out;
  const int64_t d = writers[0].d, k = writers[0].k, n_writers = static_cast<int64_t>(writers.size());
  std::vector<float> side(static_cast<size_t>(n_writers * k * d));
  std::vector<double> norms(writers.size());
  if (progress) progress->begin("composition", static_cast<double>(readers.size() * kinds.size()));
  parallel_for(n_writers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (progress) progress->check();
      written(writers[i], side.data() + i * k * d);
      norms[i] = norm_of(side.data() + i * k * d, k * d);
    }
  });

  std::map<int, std::vector<size_t>> by_layer;
  for (size_t i = 0; i < readers.size(); ++i) by_layer[readers[i].id.layer].push_back(i);
  const int64_t writers_at_once = std::max<int64_t>(1, kRowsPerProduct / k);
  std::vector<float> product;
  for (const auto& [layer, members] : by_layer)
    for (const CompositionKind kind : kinds) {
      const Readers r = prepare(readers, members, kind, progress);
      const int64_t n = static_cast<int64_t>(members.size());
      const PackedPlain b = pack_matrix(r.side.data(), d, n * k);
      std::vector<double> scores(static_cast<size_t>(n * n_writers), -1);
      for (int64_t first = 0; first < n_writers; first += writers_at_once) {
        if (progress) progress->check();
        const int64_t count = std::min(writers_at_once, n_writers - first);
        if (std::none_of(writers.begin() + first, writers.begin() + first + count,
                         [l = layer](const HeadWeights& w) { return w.id.layer < l; }))
          continue;
        product.resize(static_cast<size_t>(count * k * n * k));
        gemm(side.data() + first * k * d, count * k, b.view, product.data());
        parallel_for(count, 1, [&](int64_t begin, int64_t end) {
          for (int64_t w = begin; w < end; ++w)
            for (int64_t i = 0; i < n; ++i) {
              double sum = 0;
              for (int64_t row = 0; row < k; ++row) {
                const double x = norm_of(product.data() + ((w * k + row) * n + i) * k, k);
                sum += x * x;
              }
              const double both = norms[first + w] * r.norms[i];
              scores[i * n_writers + first + w] = both > 0 ? std::sqrt(sum) / both : 0;
            }
        });
      }
      for (int64_t i = 0; i < n; ++i)
        for (int64_t w = 0; w < n_writers; ++w)
          if (writers[w].id.layer < layer)
            out.push_back({writers[w].id, readers[members[i]].id, kind, scores[i * n_writers + w]});
      if (progress) progress->step(static_cast<double>(n));
    }
  return out;
}

double composition_score(const Factored& x, const Factored& y) {
  const double norms = frobenius_norm(x) * frobenius_norm(y);
  return norms > 0 ? frobenius_norm(multiply(x, y)) / norms : 0;
}

MatrixF64 gaussian_matrix(int64_t rows, int64_t cols, uint64_t seed, std::string_view purpose, uint64_t number) {
  const Philox rng(seed, purpose);
  MatrixF64 m(rows, cols);
  for (size_t i = 0; i < m.data.size(); ++i) m.data[i] = rng.normal(i, number);
  return m;
}

double random_pair_score(int64_t d, int64_t k, uint64_t seed, int64_t number) {
  const auto draw = [&](int part, int64_t rows, int64_t cols) {
    return gaussian_matrix(rows, cols, seed, "composition-baseline", static_cast<uint64_t>(number * 4 + part));
  };
  return composition_score({draw(0, d, k), draw(1, k, d)}, {draw(2, d, k), draw(3, k, d)});
}

CompositionBaseline composition_baseline(int64_t d, int64_t k, const BaselineOptions& options, Progress* progress) {
  std::vector<double> scores(static_cast<size_t>(options.pairs));
  if (progress) progress->begin("random pairs", static_cast<double>(options.pairs));
  parallel_for(options.pairs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      scores[i] = random_pair_score(d, k, options.seed, i);
      if (progress) progress->step();
    }
  });
  CompositionBaseline out{.pairs = options.pairs};
  if (scores.empty()) return out;
  for (const double s : scores) out.mean += s / static_cast<double>(scores.size());
  for (const double s : scores) out.sd += (s - out.mean) * (s - out.mean);
  out.sd = scores.size() > 1 ? std::sqrt(out.sd / static_cast<double>(scores.size() - 1)) : 0;
  return out;
}

}  // namespace microtome::algebra
