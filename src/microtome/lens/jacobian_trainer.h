// Fits a Jacobian lens prompt by prompt, with state that can be taken up again: one step is one prompt.
//
//   JacobianTrainer trainer(model, cursor, {});
//   run_training(trainer, {.folder = "out", .steps = 100});
//   FittedLens lens = trainer.sum().lens();
//
// More prompts may be added to a finished fit; its running sums are in double. One thread.
#pragma once

#include "microtome/lens/jacobian_lens.h"
#include "microtome/train/loop.h"
#include "microtome/train/token_cursor.h"

namespace microtome {

class JacobianTrainer : public Trainer {
 public:
  // `identity` names model and text (hashes, seed, window): a state is taken up only by the same.
  JacobianTrainer(const Model& model, TokenCursor cursor, const JacobianOptions& options, Json identity);

  Json step(int64_t number, Progress* progress) override;
  bool steps_progress() const override { return true; }
  Json options() const override;
  void save(StateWriter& out) const override;
  void load(const StateReader& in, int64_t steps) override;

  const JacobianSum& sum() const { return sum_; }

 private:
  const Model& model_;
  TokenCursor cursor_;
  JacobianOptions options_;
  Json identity_;
  JacobianSum sum_;
};

}  // namespace microtome
