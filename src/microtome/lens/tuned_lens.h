// Tuned lens: for each block's input the affine map that makes unembed(r + r A + b) most like the model's own answer (Belrose
// et al. 2023; circuits specification, section 3). Layers are independent: the loss of layer l is the mean KL(final || lens_l).
//
//   TunedTrainer trainer(model, cursor, {.steps = 500}, identity);
//   run_training(trainer, {.folder = "out", .steps = 500});
//   FittedLens lens = trainer.lens();
//
// A and b begin as zeros. SGD with Nesterov's momentum; each layer's gradient is clipped by itself. Costs 4 * V * D
// multiply-adds a position and layer. One thread.
#pragma once

#include "microtome/lens/fitted_lens.h"
#include "microtome/train/loop.h"
#include "microtome/train/token_cursor.h"

namespace microtome {

struct TunedOptions {
  int64_t steps = 500;      // of the whole run: the learning rate falls to zero over them
  int64_t positions = 256;  // of each step, drawn from twice as many tokens
  double lr = 0.1;          // 1.0 * (1 - momentum)
  double momentum = 0.9, weight_decay = 1e-3, clip = 1.0;
  uint64_t seed = 0;
};

class TunedTrainer : public Trainer {
 public:
  // `identity` names model and text: a state is taken up only by the same.
  TunedTrainer(const Model& model, TokenCursor cursor, const TunedOptions& options, Json identity);

  Json step(int64_t number, Progress* progress) override;  // {step, loss, losses[]}, KL in nats before the step
  Json options() const override;
  void save(StateWriter& out) const override;
  void load(const StateReader& in, int64_t steps) override;

  FittedLens lens() const;

 private:
  struct Translator {
    Tensor delta, bias, delta_momentum, bias_momentum;
  };
  struct Target;
  // One step of one layer; gives the loss before it.
  double step_layer(Translator& t, const Tensor& x, const Target& target, double lr) const;
  std::vector<int32_t> draw_rows(int64_t number, int64_t rows) const;

  const Model& model_;
  TokenCursor cursor_;
  TunedOptions options_;
  Json identity_;
  std::vector<Translator> translators_;
  Tensor unembed_rows_;  // W_U transposed, plain [V, D]
  int64_t steps_done_ = 0;
};

}  // namespace microtome
