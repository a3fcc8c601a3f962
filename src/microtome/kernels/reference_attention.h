// The definition of attention, as plain loops over float or double: one query row at a time, forward and backward.
//
//   reference::attention_scores<double>(keys, row, p);
//   double lse = reference::attention_softmax<double>(row, p);
//   reference::attention_apply<double>(keys, row, p, z);
//
// The fast kernels are tested against it in double. All functions are pure and may run on any thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "microtome/kernels/attention.h"
#include "microtome/kernels/reference.h"

namespace microtome::reference {

template <class T>
struct KeyRows {
  int64_t d = 0, dv = 0;
  T scale = 1, softcap = 0;
  const T* const* k = nullptr;  // blocks, as in KeyBlocks
  const T* const* v = nullptr;
};

template <class T>
struct Query {
  const T* q = nullptr;
  const int32_t* slots = nullptr;
  int64_t begin = 0, end = 0;
  const T* bias = nullptr;

  int64_t slot(int64_t j) const { return slots ? slots[j] : j; }
};

// Row of logical key j in blocks [64][width].
template <class T, class P>
P* key_row(P* const* blocks, const Query<T>& row, int64_t j, int64_t width) {
  return blocks[row.slot(j) / kKeyBlock] + row.slot(j) % kKeyBlock * width;
}

template <class T>
void attention_scores(const KeyRows<T>& keys, const Query<T>& row, T* scores) {
  for (int64_t j = 0; j < row.end; ++j) {
    if (j < row.begin) {
      scores[j] = -std::numeric_limits<T>::infinity();
      continue;
    }
    const T* k = key_row<T>(keys.k, row, j, keys.d);
    T dot = 0;
    for (int64_t c = 0; c < keys.d; ++c) dot += row.q[c] * k[c];
    T s = keys.scale * dot;
    if (keys.softcap > 0) s = keys.softcap * std::tanh(s / keys.softcap);
    scores[j] = row.bias ? s + row.bias[j] : s;
  }
}

template <class T>
T attention_softmax(const Query<T>& row, T* scores) {
  return softmax_range<T>(row.begin, row.end, scores);
}

template <class T>
void attention_apply(const KeyRows<T>& keys, const Query<T>& row, const T* pattern, T* z) {
  for (int64_t c = 0; c < keys.dv; ++c) z[c] = 0;
  for (int64_t j = row.begin; j < row.end; ++j) {
    const T* v = key_row<T>(keys.v, row, j, keys.dv);
    for (int64_t c = 0; c < keys.dv; ++c) z[c] += pattern[j] * v[c];
  }
}

// dq is written; dk added to. With a cap, d score / d dot = scale (1 - (cap / c)^2).
template <class T>
void attention_scores_backward(const KeyRows<T>& keys, const Query<T>& row, const T* scores, const T* dscores, T* dq,
                               T* const* dk) {
  if (dq) std::fill(dq, dq + keys.d, T(0));
  for (int64_t j = row.begin; j < row.end; ++j) {
    if (dscores[j] == 0) continue;  // hidden by an infinite bias, among others
    T g = keys.scale * dscores[j];
    if (keys.softcap > 0) {
      const T t = (scores[j] - (row.bias ? row.bias[j] : 0)) / keys.softcap;
      g *= 1 - t * t;
    }
    const T* k = key_row<T>(keys.k, row, j, keys.d);
    for (int64_t c = 0; c < keys.d; ++c) {
      if (dq) dq[c] += g * k[c];
      if (dk) key_row<T>(dk, row, j, keys.d)[c] += g * row.q[c];
    }
  }
}

// dscores = p (dp - sum p dp + dlse); zero below begin.
template <class T>
void attention_softmax_backward(const Query<T>& row, const T* pattern, const T* dpattern, T dlse, T* dscores) {
  T dot = 0;
  for (int64_t j = row.begin; j < row.end; ++j) dot += pattern[j] * dpattern[j];
  for (int64_t j = 0; j < row.end; ++j) dscores[j] = j < row.begin ? T(0) : pattern[j] * (dpattern[j] - dot + dlse);
}

// dpattern is written (zero below begin; null: not wanted); dv added to.
template <class T>
void attention_apply_backward(const KeyRows<T>& keys, const Query<T>& row, const T* pattern, const T* dz, T* dpattern,
                              T* const* dv) {
  for (int64_t j = 0; j < row.end; ++j) {
    T dot = 0;
    for (int64_t c = 0; c < keys.dv && j >= row.begin; ++c) {
      dot += dz[c] * key_row<T>(keys.v, row, j, keys.dv)[c];
      if (dv) key_row<T>(dv, row, j, keys.dv)[c] += pattern[j] * dz[c];
    }
    if (dpattern) dpattern[j] = dot;
  }
}

// (z, lse) and (z', lse') over disjoint keys: weights e^(lse - total), e^(lse' - total).
template <class T>
void attention_merge(int64_t dv, T* z, T* lse, const T* z_other, T lse_other) {
  if (std::isinf(lse_other)) return;
  const T largest = std::max(*lse, lse_other);
  const T total = largest + std::log(std::exp(*lse - largest) + std::exp(lse_other - largest));
  for (int64_t c = 0; c < dv; ++c) z[c] = std::exp(*lse - total) * z[c] + std::exp(lse_other - total) * z_other[c];
  *lse = total;
}

}  // namespace microtome::reference
