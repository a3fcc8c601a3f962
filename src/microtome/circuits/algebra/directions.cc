#include "microtome/circuits/algebra/directions.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/gemm.h"

namespace microtome::algebra {
namespace {

bool larger(const TokenPair& a, const TokenPair& b) { return a.value != b.value ? a.value > b.value : a.column < b.column; }
bool smaller(const TokenPair& a, const TokenPair& b) { return a.value != b.value ? a.value < b.value : a.column < b.column; }

std::vector<float> column(const MatrixF64& m, int64_t j, double sign) {
  std::vector<float> out(static_cast<size_t>(m.rows));
  for (int64_t i = 0; i < m.rows; ++i) out[i] = static_cast<float>(sign * m(i, j));
  return out;
}

// Of the entry of largest magnitude.
double sign_of(const MatrixF64& m, int64_t j) {
  int64_t at = 0;
  for (int64_t i = 1; i < m.rows; ++i)
    if (std::abs(m(i, j)) > std::abs(m(at, j))) at = i;
  return m.rows > 0 && m(at, j) < 0 ? -1 : 1;
}

double cosine(double dot, double a, double b) { return a > 0 && b > 0 ? dot / std::sqrt(a * b) : 0; }

}  // namespace

std::vector<Direction> singular_directions(const HeadWeights& head, HeadCircuit circuit, int64_t count) {
  const ThinSvd s = svd(circuit == HeadCircuit::kOv ? head.ov() : head.qk());
  double all = 0;
  for (const double x : s.s) all += x * x;
  std::vector<Direction> out;
  for (int64_t i = 0; i < std::min<int64_t>(count, std::ssize(s.s)); ++i) {
    const double sign = sign_of(s.u, i), share = all > 0 ? s.s[i] * s.s[i] / all : 0;
    out.push_back({i, s.s[i], share, true, StreamSide::kEmbed, column(s.u, i, sign)});
    const StreamSide far = circuit == HeadCircuit::kOv ? StreamSide::kUnembed : StreamSide::kEmbed;
    out.push_back({i, s.s[i], share, false, far, column(s.v, i, sign)});
  }
  return out;
}

std::vector<Direction> singular_directions(std::span<const float> w, int64_t d, int64_t m, bool writes, int64_t count) {
  // The side of width D alone is wanted: eigenvectors of W Wᵀ [D, D].
  const MatrixF64 matrix = writes ? MatrixF64::from(w.data(), m, d) : MatrixF64::from(w.data(), d, m);
  const SymmetricEigen e = symmetric_eigen(writes ? matmul_tn(matrix, matrix) : matmul_nt(matrix, matrix));
  double all = 0;
  for (const double x : e.values) all += std::max(0.0, x);
  std::vector<Direction> out;
  for (int64_t i = 0; i < std::min(count, std::min(d, m)); ++i) {
    const int64_t j = d - 1 - i;
    const double square = std::max(0.0, e.values[j]);
    out.push_back({i, std::sqrt(square), all > 0 ? square / all : 0, !writes, writes ? StreamSide::kUnembed : StreamSide::kEmbed,
                   column(e.vectors, j, sign_of(e.vectors, j))});
  }
  return out;
}

std::vector<DirectionTokens> tokens_of(const Vocabulary& vocabulary, std::span<const std::vector<float>> directions,
                                       StreamSide side, int64_t n) {
  constexpr int64_t kAtOnce = 64;
  const int64_t d = vocabulary.d(), v = vocabulary.size(), all = std::ssize(directions);
  n = std::min(n, v);
  std::vector<DirectionTokens> out(directions.size());
  for (int64_t begin = 0; begin < all; begin += kAtOnce) {
    const int64_t count = std::min(kAtOnce, all - begin);
    std::vector<float> x(static_cast<size_t>(count * d));
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < d; ++j) x[side == StreamSide::kUnembed ? i * d + j : j * count + i] = directions[begin + i][j];
    const Tensor scores =
        side == StreamSide::kUnembed ? vocabulary.unembed_product(x.data(), count) : vocabulary.embed_product(x.data(), count);
    const int64_t by_direction = side == StreamSide::kUnembed ? v : 1, by_token = side == StreamSide::kUnembed ? 1 : count;
    parallel_for(count, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        std::vector<TokenPair> pairs(static_cast<size_t>(v));
        for (int64_t t = 0; t < v; ++t)
          pairs[t] = {static_cast<int32_t>(begin + i), static_cast<int32_t>(t), scores.f32()[i * by_direction + t * by_token]};
        std::partial_sort(pairs.begin(), pairs.begin() + n, pairs.end(), larger);
        out[begin + i].top.assign(pairs.begin(), pairs.begin() + n);
        std::partial_sort(pairs.begin(), pairs.begin() + n, pairs.end(), smaller);
        out[begin + i].lowest.assign(pairs.begin(), pairs.begin() + n);
      }
    });
  }
  return out;
}

std::vector<NeuronCosines> neuron_cosines(const MlpWeights& w, int layer) {
  std::vector<NeuronCosines> out(static_cast<size_t>(w.m));
  parallel_for(w.m, 64, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      double in_in = 0, in_out = 0, out_out = 0, gate_gate = 0, gate_out = 0;
      for (int64_t i = 0; i < w.d; ++i) {
        const double in = w.w_in[i * w.m + n], o = w.w_out[n * w.d + i], g = w.w_gate.empty() ? 0 : w.w_gate[i * w.m + n];
        in_in += in * in, in_out += in * o, out_out += o * o, gate_gate += g * g, gate_out += g * o;
      }
      out[n] = {layer, n, cosine(in_out, in_in, out_out), cosine(gate_out, gate_gate, out_out)};
    }
  });
  return out;
}

}  // namespace microtome::algebra
