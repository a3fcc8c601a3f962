#include "microtome/circuits/algebra/spectra.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/vocabulary.h"
#include "microtome/kernels/gemm.h"

namespace microtome::algebra {
namespace {

HeadSpectrum spectrum(HeadId id, const MatrixF64& small) {
  HeadSpectrum s{.id = id, .eigenvalues = microtome::eigenvalues(small)};
  s.score = positivity(s.eigenvalues);
  s.magnitude = sum_of_magnitudes(s.eigenvalues);
  s.trace = microtome::trace(small);
  return s;
}

// f32 copy of a double matrix, packed.
PackedPlain packed(const MatrixF64& m) {
  const std::vector<float> values(m.data.begin(), m.data.end());
  return pack_matrix(values.data(), m.rows, m.cols);
}

// Runs fn(i) for every head, each on one thread.
template <class Fn>
void each_head(size_t n, Progress* progress, const char* task, Fn&& fn) {
  if (progress) progress->begin(task, static_cast<double>(n));
  parallel_for(static_cast<int64_t>(n), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      fn(static_cast<size_t>(i));
      if (progress) progress->step();
    }
  });
}

std::vector<float> with_row(const std::vector<float>& w, const std::vector<float>& b) {
  std::vector<float> out(w);
  out.insert(out.end(), b.begin(), b.end());
  return out;
}

}  // namespace

std::vector<HeadSpectrum> copying(std::span<const HeadWeights> heads, const MatrixF64& gram, Progress* progress) {
  std::vector<HeadSpectrum> out(heads.size());
  if (heads.empty()) return out;
  MT_CHECK_EQ(gram.rows, heads[0].d);
  const PackedPlain g = packed(gram);
  each_head(heads.size(), progress, "copying", [&](size_t i) {
    const HeadWeights& h = heads[i];
    std::vector<float> w_o_g(static_cast<size_t>(h.k * h.d)), small(static_cast<size_t>(h.k * h.k));
    gemm(h.w_o.data(), h.k, g.view, w_o_g.data());
    gemm_plain(w_o_g.data(), h.w_v.data(), small.data(), h.k, h.d, h.k);
    out[i] = spectrum(h.id, MatrixF64::from(small.data(), h.k, h.k));
  });
  return out;
}

std::vector<HeadSpectrum> matching(std::span<const HeadWeights> heads, const MatrixF64& gram, Progress* progress) {
  std::vector<HeadSpectrum> out(heads.size());
  if (heads.empty()) return out;
  MT_CHECK_EQ(gram.rows, heads[0].d + 1);
  const PackedPlain g = packed(gram);
  each_head(heads.size(), progress, "matching", [&](size_t i) {
    const HeadWeights& h = heads[i];
    const int64_t d = h.d + 1;
    const std::vector<float> q = with_row(h.w_q, h.b_q), k = with_row(h.w_k, h.b_k);
    std::vector<float> turned(static_cast<size_t>(h.k * d)), product(turned.size()), small(static_cast<size_t>(h.k * h.k));
    for (int64_t r = 0; r < d; ++r)
      for (int64_t c = 0; c < h.k; ++c) turned[c * d + r] = k[r * h.k + c] * h.scale;
    gemm(turned.data(), h.k, g.view, product.data());
    gemm_plain(product.data(), q.data(), small.data(), h.k, d, h.k);
    out[i] = spectrum(h.id, MatrixF64::from(small.data(), h.k, h.k));
  });
  return out;
}

std::vector<HeadDeletion> deletion(std::span<const HeadWeights> heads, Progress* progress) {
  std::vector<HeadDeletion> out(heads.size());
  each_head(heads.size(), progress, "deletion", [&](size_t i) {
    const auto values = eigenvalues(heads[i].ov());
    out[i] = {.id = heads[i].id, .score = -positivity(values)};
    const auto nearest = [&](double target) {
      return *std::min_element(values.begin(), values.end(),
                               [&](const auto& x, const auto& y) { return std::abs(x - target) < std::abs(y - target); });
    };
    if (!values.empty()) out[i].nearest = nearest(-1), out[i].nearest_copy = nearest(1);
  });
  return out;
}

HeadWeights random_head(int64_t d, int64_t k, uint64_t seed, int64_t number) {
  HeadWeights h{.d = d, .k = k, .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(k)))};
  const Philox rng(seed, "random-head");
  const double sd = 1 / std::sqrt(static_cast<double>(d));
  uint64_t lane = static_cast<uint64_t>(number) * 4;
  for (std::vector<float>* w : {&h.w_q, &h.w_k, &h.w_v, &h.w_o}) {
    w->resize(static_cast<size_t>(d * k));
    for (size_t i = 0; i < w->size(); ++i) (*w)[i] = static_cast<float>(sd * rng.normal(i, lane));
    ++lane;
  }
  for (std::vector<float>* b : {&h.b_q, &h.b_k, &h.b_v}) b->assign(static_cast<size_t>(k), 0.0f);
  return h;
}

VirtualHead virtual_head(const HeadWeights& first, const HeadWeights& second, const MatrixF64& gram) {
  const Factored ov1 = first.ov(), ov2 = second.ov(), both = multiply(ov1, ov2);
  VirtualHead out{.first = first.id, .second = second.id};
  const double norms = frobenius_norm(ov1) * frobenius_norm(ov2);
  out.composition = norms > 0 ? frobenius_norm(both) / norms : 0;
  out.copying = spectrum(second.id, matmul(matmul(both.b, gram), both.a));
  return out;
}

}  // namespace microtome::algebra
