// One pass of circuits: what each row's receivers read is put together from the row's own sources, and written where the forward
// pass reads it. Used by CircuitRun.
//
//   CircuitPass pass(model, graph, {.ablated = &values, .rows = rows, .first_layer = 0});
//   pass.attach(plan);                               // edits at the receivers' sites, reads at the sources'
//   forward(model, {.batch = batch, .plan = &plan});
//   pass.deviations(r);                              // [sources it ran, D] of row r: z_u - a_u
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "microtome/circuits/graph/source_values.h"

namespace microtome {

// A row of the pass.
struct CircuitRow {
  const EdgeMask* circuit = nullptr;
  int32_t role = 0;
  int32_t reference = 0;         // row of the ablated values
  const float* below = nullptr;  // z_u - a_u [first sources, D] of the sources below the first layer, from an earlier pass
};

class CircuitPass {
 public:
  // Layers first_layer .. last_layer run; sources below are in CircuitRow::below.
  CircuitPass(const Model& model, const Graph& graph, const StreamValues& ablated, std::vector<CircuitRow> rows,
              int64_t first_layer, int64_t last_layer);
  void attach(Plan& plan);

  int64_t first_source() const { return first_source_; }
  int64_t sources() const { return sources_; }  // that run
  const float* deviations(int64_t row) const { return deviation_.f32() + row * sources_ * d_; }

  // Bytes that a row needs, beside the forward pass's own.
  static int64_t bytes_per_row(const Graph& graph, int64_t first_layer);

 private:
  struct Weights;  // a circuit's edges into some receivers, as a matrix
  // Receivers v .. v + n - 1, which read the same sources: out [rows][n][D].
  void mix(int64_t v, int64_t n, const Tensor& base, float* out) const;
  void put(int64_t source, const Tensor& z, const Tensor& ablated);
  void put_heads(int64_t layer, const Tensor& z);

  const Model& model_;
  const Graph& graph_;
  const StreamValues& ablated_;
  std::vector<CircuitRow> rows_;
  std::vector<int32_t> reference_;
  int64_t d_, first_layer_, last_layer_, first_source_, sources_;
  Tensor deviation_;  // [rows][sources_, D]
  Tensor mixed_;      // [rows][receivers of a layer's attention, D]
};

}  // namespace microtome
