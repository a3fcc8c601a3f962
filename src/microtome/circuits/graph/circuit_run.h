// CircuitRun: the model run with the edges of a circuit only: each receiver reads
//   in_v = sum over u -> v in K of z_u (this run) + sum over the other u of a_u + biases b_O below,
// a_u being the ablated value (ablation.h). The full circuit is the clean run, the empty one the ablated run.
//
//   CircuitRun run(model, graph, examples, {});
//   std::vector<const EdgeMask*> circuits{&top10, &top100};
//   auto m = run.metric(metric, circuits);                       // [circuits][examples]
//   run.logits(metric, circuits, [&](size_t circuit, size_t example, const Tensor& logits) { ... });
//
// Circuits and examples run together as sequences of one pass, as many as the memory budget holds; layers below the first where
// the circuits differ run once per example, positions before the first difference of clean and corrupted prompt not at all
// (resample). A circuit's numbers do not depend on which others run beside it (<= 1e-5). One thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "microtome/circuits/graph/ablation.h"
#include "microtome/circuits/graph/graph.h"
#include "microtome/circuits/metric.h"
#include "microtome/model/model.h"

namespace microtome {

struct CircuitRunOptions {
  Ablation ablation;
  double memory_gb = 1;
  Progress* progress = nullptr;  // asked for cancellation; steps are the caller's
};

class CircuitRun {
 public:
  // Keeps references to model, graph and examples. Throws what check_example and forward throw, and Unsupported for an
  // ungrouped graph of a model whose heads share keys.
  CircuitRun(const Model& model, const Graph& graph, const std::vector<Example>& examples, const CircuitRunOptions& options);
  ~CircuitRun();

  // `logits` [metric.positions(example), metric.columns(example) or V]; copy what must outlive the call.
  using Sink = std::function<void(size_t circuit, size_t example, const Tensor& logits)>;
  void logits(const Metric& metric, std::span<const EdgeMask* const> circuits, const Sink& sink);

  // The metric of each circuit on each example: [circuits][examples].
  std::vector<std::vector<double>> metric(const Metric& metric, std::span<const EdgeMask* const> circuits);

  // Logits of the plain clean run of an example, as `logits` gives them (what kl compares with).
  Tensor clean_logits(const Metric& metric, size_t example);

  // Multiply-adds of products with weights so far, and of full forwards of every (circuit, example) asked for.
  int64_t macs() const;
  int64_t plain_macs() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace microtome
