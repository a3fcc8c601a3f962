// What the circuit tools share: a group of examples whose passes run together, and the values that their runs write and read.
//
//   Group group(model, examples, {0, 1, 2}, metric, AblationKind::kResample);   // prompts' common beginnings are in caches
//   StreamValues clean = run_group(model, group, clean_side, {...});
//   StreamValues ablated = ablator.values(group, ...);
//
// Rows of a group: of each example in turn, its positions from the first that can matter: under `resample` the first where the
// two prompts differ (before it both runs, and every circuit's, are the same), else 0; never behind the first position that the
// metric reads.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "microtome/circuits/graph/ablation.h"
#include "microtome/circuits/graph/graph.h"
#include "microtome/circuits/metric.h"
#include "microtome/model/model.h"
#include "microtome/model/pass.h"

namespace microtome {

struct GroupExample {
  const Example* example = nullptr;
  size_t index = 0;                       // among all examples
  int64_t start = 0;                      // first position that runs
  int64_t row_begin = 0, row_end = 0;     // in the group
  std::shared_ptr<const KvCache> prefix;  // of positions before `start`
  int64_t rows() const { return row_end - row_begin; }
};

struct Group {
  std::vector<GroupExample> examples;
  int64_t rows = 0;
};

// Where an example's passes start.
int64_t first_row(const Example& example, const Metric& metric, AblationKind ablation);

// Runs the prefixes.
Group make_group(const Model& model, const std::vector<Example>& examples, std::span<const size_t> chosen, const Metric& metric,
                 AblationKind ablation);

// Values of rows [rows, ...] that lie one below the other as in a group.
struct StreamValues {
  Tensor input;             // [rows, D]: block 0's input
  std::vector<Tensor> z;    // per layer [rows, H, K]
  std::vector<Tensor> mlp;  // per layer [rows, D], where there are MLPs
  // What receivers read: the stream before attention and before MLP of each layer, and at the end, [rows, D].
  std::vector<Tensor> attention_in, mlp_in;
  Tensor logits_in;
};

// Puts reads of sources (and streams) into a plan. `values` must outlive the plan's use; it holds the pass's own memory.
void read_sources(Plan& plan, const Config& config, StreamValues& values);
void read_streams(Plan& plan, const Config& config, StreamValues& values);

// Logits that a metric reads, in one pass over several sequences: chosen rows and the union of the columns.
class MetricRows {
 public:
  explicit MetricRows(const Metric& metric) : metric_(metric) {}
  // A sequence of the pass: rows from `row_begin` at position `start`.
  void add(const Example& example, int64_t start, int64_t row_begin);
  void apply(Plan& plan) const;
  int64_t rows() const { return std::ssize(rows_); }
  // Sequence i's logits [positions, its columns or V], cut out of the pass's.
  Tensor take(size_t i, const Tensor& logits) const;
  // Writes sequence i's gradient, shaped as take() gives it, into the pass's (which begins as zeros).
  void put(size_t i, const Tensor& gradient, float factor, Tensor& seed) const;

 private:
  struct Entry {
    const Example* example;
    int64_t first = 0, count = 0;  // in rows_
  };
  const Metric& metric_;
  std::vector<Entry> entries_;
  std::vector<int32_t> rows_, columns_;
};

// Clean or corrupted prompts of a group, from their starts: values where wanted, logits of each example.
struct GroupRun {
  StreamValues values;
  std::vector<Tensor> logits;
};
GroupRun run_group(const Model& model, const Group& group, const Metric& metric, bool corrupted, bool streams, int64_t* macs,
                   const Progress* progress);

// Ablated values of sources, and what receivers read when every source is ablated. Means are taken at construction.
class Ablator {
 public:
  Ablator(const Model& model, const Ablation& ablation, const std::vector<Example>& examples, Progress* progress);
  ~Ablator();
  AblationKind kind() const { return kind_; }
  // `logits`: of the run of the corrupted prompts, where that is what ablation is (resample); else left empty.
  GroupRun values(const Group& group, const Metric& metric, bool streams, int64_t* macs, const Progress* progress) const;

 private:
  struct Means;
  const Model& model_;
  AblationKind kind_;
  std::unique_ptr<Means> means_;
};

// Head h's output for rows of z [rows, H, K] (or differences of them): z_h W_O,h -> out [rows, D]; W_O plain [H K, D].
class HeadOutputs {
 public:
  HeadOutputs(const Model& model, int64_t layer);
  // a [rows, H, K], b [.., H, K], row b_rows[r] of it against row r (empty: the same row): (a - b)_h W_O,h for every head,
  // out [H][rows, D]. In bf16 runs a and b are rounded first, as the model's own product rounds them.
  void differences(const Tensor& a, const Tensor& b, std::span<const int32_t> b_rows, float* out) const;

 private:
  const Model& model_;
  Tensor w_;
};

}  // namespace microtome
