// The loop that every trainer shares: steps, metrics, checkpoints, taking up where it stopped.
//
//   class TunedTrainer : public Trainer { ... };
//   run_training(trainer, {.folder = "out", .steps = 500, .resume = true, .progress = &progress});
//
// In the folder: `state.safetensors` (written whole or not at all: before the first step, after it, then every minute, at the
// end, and when the run is cancelled) and `metrics.jsonl` (one object a step, what step() returned). The metrics always hold
// the state's steps, perhaps more; these are cut off and taken again. So a run that is killed at any moment and taken up again
// ends with the same bytes as one that was not.
// One thread.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "microtome/base/progress.h"
#include "microtome/train/state_file.h"

namespace microtome {

class Trainer {
 public:
  virtual ~Trainer() = default;

  // One step. If it throws Cancelled, the trainer is as it was before; if it throws something else, it is of no more use.
  // `progress` (may be null) was begun with one unit a step; a trainer
  // whose steps are long steps it by parts of 1 itself and returns true from steps_progress().
  virtual Json step(int64_t number, Progress* progress) = 0;
  virtual bool steps_progress() const { return false; }

  // Everything that the next step depends on. Options that it was made with go under `options`: they must be the same when it
  // is taken up again.
  virtual Json options() const = 0;
  virtual void save(StateWriter& out) const = 0;
  // `steps`: that the state holds. Throws Corrupt where the trainer's own numbers say otherwise.
  virtual void load(const StateReader& in, int64_t steps) = 0;
};

struct LoopOptions {
  std::filesystem::path folder;
  int64_t steps = 0;
  bool resume = false;
  double save_every_s = 60;
  std::string task = "train";
  std::function<void(const Json&)> on_step;  // sees what goes to metrics.jsonl
  Progress* progress = nullptr;
};

// Throws InvalidArgument: there is a state already and `resume` is not set; it was made with other options. NotFound: there is
// none to resume. Corrupt: the state, or metrics with fewer steps than it. What steps throw; Cancelled, with the state as it was
// after the last step saved.
void run_training(Trainer& trainer, const LoopOptions& options);

}  // namespace microtome
