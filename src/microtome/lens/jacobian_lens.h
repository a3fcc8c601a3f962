// Jacobian lens: the mean linear map J_l from the output of block l to the output of the last block, before the final norm
// (Gurnee, Sofroniew, Lindsey et al. 2026; circuits specification, section 3). The lens at block l is unembed(J_l h).
//
//   JacobianSum sum(model.config());
//   for (const auto& prompt : prompts) sum.add(model, prompt, {});
//   FittedLens lens = sum.lens(model_hash);
//
//   J_l = mean over prompts of 1/|S| sum_{t in S} sum_{t' in S, t' >= t} d h_final[t'] / d h_l[t],
//   S = the positions after the first `skip` and without the last
//
// One forward per prompt, then D one-hot cotangents at all of S at once, several in one batch (copies of the sequence on one
// tape that is run again); a backward serves all layers. Rows before S only lie in the cache: no gradient passes through them
// on its way from S to S. Costs about 2 * parameters * |S| * D multiply-adds a prompt. One thread.
#pragma once

#include <span>
#include <vector>

#include "microtome/lens/fitted_lens.h"
#include "microtome/model/model.h"

namespace microtome {

struct JacobianOptions {
  int64_t skip = 16;            // first positions that are left out
  int64_t rows_at_once = 2048;  // of the batch: more is faster, up to the caches, and takes more memory
  bool bf16 = false;            // products of the backward in bf16: about half the time (the forward stays as the model is)
  int64_t outputs = -1;         // only derivatives of the first so many outputs, the rest stay 0 (benchmarks); -1: all
};

class JacobianSum {
 public:
  explicit JacobianSum(const Config& config);

  // Throws InvalidArgument if S is empty, and what forward throws; the sums are as before if it throws. Steps a progress
  // that was begun by 1 in all.
  void add(const Model& model, std::span<const int32_t> prompt, const JacobianOptions& options, Progress* progress = nullptr);

  // Sums of two fits of the same model: as if one had seen all prompts.
  void merge(const JacobianSum& other);

  int64_t prompts() const { return prompts_; }
  int64_t layers() const { return static_cast<int64_t>(sums_.size()); }  // all blocks but the last, whose J is the identity

  // The mean so far.
  FittedLens lens() const;

  // For checkpoints: sums [D, D] of one layer, row i the derivatives of output i.
  std::vector<double>& sum(int64_t layer) { return sums_[layer]; }
  const std::vector<double>& sum(int64_t layer) const { return sums_[layer]; }
  void set_prompts(int64_t n) { prompts_ = n; }

 private:
  int64_t d_model_, prompts_ = 0;
  std::vector<std::vector<double>> sums_;
};

}  // namespace microtome
