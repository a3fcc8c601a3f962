// Contraction: scores of edges from sources' differences and receivers' gradients, one product per row and block of receivers:
//   score(u -> v) += sum over rows and d of delta_u[row, d] g_v[row, d].
//
//   Contraction c(graph, roles_of_rows);
//   c.delta(row);                                   // [sources, D], filled by the caller
//   c.begin({0, graph.n_sources()}, keep_all);
//   for each receiver from the last down: c.add(v, row, weight, gradient);   // gradients of several runs add up
//   c.finish(scores);                               // adds to scores [edges]
//
// Gradients wait until a block of receivers is complete; with keep_all (several runs add to the same receivers) all wait. Sums
// run in double over rows, in order. One example at a time; one thread.
#pragma once

#include <vector>

#include "microtome/circuits/graph/graph.h"
#include "microtome/model/model.h"

namespace microtome {

class Contraction {
 public:
  // `roles` of each row.
  Contraction(const Model& model, const Graph& graph, std::vector<int32_t> roles);

  int64_t rows() const { return std::ssize(roles_); }
  float* delta(int64_t row) { return delta_.f32() + row * n_sources_ * d_; }
  const float* delta(int64_t row) const { return delta_.f32() + row * n_sources_ * d_; }

  // From here on, edges out of sources [first, last) are meant.
  void begin(int64_t first_source, int64_t last_source, bool keep_all);
  // weight * gradient [D] is added at `row` of receiver v.
  void add(int64_t v, int64_t row, float weight, const float* gradient);
  // All runs have added to receivers v and above: those that wait may be contracted (if not keep_all).
  void done_down_to(int64_t v, std::vector<double>& scores);
  void finish(std::vector<double>& scores);

  static int64_t bytes_per_row(const Graph& graph, bool keep_all);

 private:
  void contract(std::vector<double>& scores);
  float* slot(int64_t v, int64_t row) { return gradient_.f32() + (row * capacity_ + top_ - 1 - v) * d_; }

  const Model& model_;
  const Graph& graph_;
  std::vector<int32_t> roles_;
  int64_t n_sources_, d_;
  Tensor delta_;     // [rows, sources, D]
  Tensor gradient_;  // [rows, capacity, D]: receivers top - 1, top - 2, ...
  int64_t capacity_ = 0, top_ = 0, low_ = 0, first_ = 0, last_ = 0;
  bool keep_all_ = false;
};

}  // namespace microtome
