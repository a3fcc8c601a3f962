// Logit lens: the final norm and unembedding applied to the stream at every layer (nostalgebraist 2020; circuits
// specification, section 3). Point l is resid_pre of block l; the last point is the stream that the model itself unembeds, so
// that it equals the logits bit for bit.
//
//   LensResult r = logit_lens(model, batch, plan, {.top = 5});
//   r.at(point, row).top[0].id
#pragma once

#include <optional>
#include <vector>

#include "microtome/lens/fitted_lens.h"
#include "microtome/model/model.h"

namespace microtome {

struct LensOptions {
  bool all_points = false;  // also after each attention (resid_mid), where the model has that state
  int64_t top = 5;
  std::vector<int32_t> rows;         // of the batch; empty: all
  std::vector<int32_t> targets;      // per row of the batch, -1: none; empty: none
  bool target_final = false;         // the target of a row is the final point's most probable token
  const FittedLens* lens = nullptr;  // the streams go through it first; not together with all_points
};

struct LensToken {
  int32_t id;
  double logprob;  // natural log
};

struct LensCell {
  std::vector<LensToken> top;  // best first; ties to the lower id
  double entropy = 0;          // nats
  double kl_to_final = 0;      // KL(final || point), nats
  int32_t target = -1;
  double target_logprob = 0;
  int64_t target_rank = 0;  // from 1; ties count as better if their id is lower
};

struct LensResult {
  std::vector<Site> points;
  std::vector<int32_t> rows;
  std::vector<LensCell> cells;        // [points][rows]
  std::vector<Tensor> streams;        // [points], each [rows, D], as the model has them
  std::vector<double> kl_logit_lens;  // with a fitted lens: the logit lens' KL(final || point), [points][rows]
  const LensCell& at(size_t point, size_t row) const { return cells[point * rows.size() + row]; }
};

// The sites that the points are named by.
std::vector<Site> lens_points(const Config& config, bool all_points);

// Runs the batch once under `plan` (which gains reads) and looks at every point.
LensResult logit_lens(const Model& model, const Batch& batch, Plan& plan, const LensOptions& options,
                      Progress* progress = nullptr);

// The lens over streams that were read before: streams[p] [rows, D], the last being the model's final stream.
std::vector<LensCell> lens_cells(const Model& model, const std::vector<Tensor>& streams, const LensOptions& options,
                                 const std::vector<int32_t>& targets, Progress* progress = nullptr);

}  // namespace microtome
