// One differentiated pass of the edge scores: runs of a group's examples from given inputs, with the gradient at every receiver
// handed on, from the logits down.
//
//   GradientPass pass(model, graph, metric, group);
//   pass.add(0, values_at_start);                                 // example 0 of the group, its stream [rows, D] at the start
//   pass.run({.on_receiver = [&](size_t run, int64_t v, const float* g, int64_t stride) { ... }});
//
// Receivers of heads: the gradient at the head's own copy of the stream, through its share of W_Q, W_K or W_V and the norm alone.
#pragma once

#include <functional>
#include <vector>

#include "microtome/circuits/graph/source_values.h"

namespace microtome {

class GradientPass {
 public:
  GradientPass(const Model& model, const Graph& graph, const Metric& metric, const Group& group)
      : model_(model), graph_(graph), metric_(metric), group_(group) {}

  struct Run {
    size_t example = 0;  // of the group
    Tensor input;        // [rows, D]: the stream before `first_layer`
    Tensor change;       // [rows, D] added at Hooks::change_at; may be undefined
  };
  void add(Run run) { runs_.push_back(std::move(run)); }

  struct Hooks {
    int first_layer = 0;
    // A source's output that `change` is added to; what lies below gets no gradients.
    std::optional<Site> change_at = {};
    // Gradient of receiver v's input for every row of the pass, [rows, D]; receivers come in falling order.
    std::function<void(int64_t v, const float* gradient)> on_receiver = {};
    // After the last receiver of a layer.
    std::function<void(int64_t lowest)> on_done = {};
    // Gradient at a site, [rows, D].
    std::vector<std::pair<Site, std::function<void(const Tensor&)>>> at_sites = {};
    StreamValues* values = nullptr;  // sources of this pass, where wanted
    // The clean runs' logits of each example of the group (kl only).
    const std::vector<Tensor>* clean_logits = nullptr;
    bool gradients = true;  // else: values and metrics only
    const Progress* progress = nullptr;
  };
  // The metric of each run.
  std::vector<double> run(const Hooks& hooks);

  // Rows of run i in the pass.
  int64_t row_begin(size_t run) const { return row_begin_[run]; }
  const std::vector<Run>& runs() const { return runs_; }
  const std::vector<Tensor>& logits() const { return logits_; }

  // Bytes that a tape keeps for a row.
  static int64_t bytes_per_row(const Config& config);

 private:
  struct HeadGradients {
    Tensor stream, q, k, v;
  };
  void head_inputs(int64_t layer, const HeadGradients& at, const Hooks& hooks) const;
  int64_t rows() const { return rows_; }

  const Model& model_;
  const Graph& graph_;
  const Metric& metric_;
  const Group& group_;
  std::vector<Run> runs_;
  std::vector<int64_t> row_begin_;
  std::vector<Tensor> logits_;
  int64_t rows_ = 0;
};

}  // namespace microtome
