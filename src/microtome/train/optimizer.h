// Optimisers and schedules of training.
//
//   const double lr = 0.1 * linear_decay(step, steps);
//   sgd_step({.lr = lr, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-3}, gradient, momentum, parameter);
//
// Thread rule: free functions, parallel inside, the same bits for any number of threads.
#pragma once

#include <cstdint>
#include <span>

namespace microtome {

// 1 at the first step, falling in a line to 1/steps at the last.
inline double linear_decay(int64_t step, int64_t steps) { return static_cast<double>(steps - step) / static_cast<double>(steps); }

struct SgdOptions {
  double lr = 0.1, momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
};

// g = gradient + weight_decay * parameter; buffer = momentum * buffer + g; parameter -= lr * (g + momentum * buffer) with
// Nesterov's momentum, lr * buffer without. The buffer begins as zeros.
void sgd_step(const SgdOptions& options, std::span<const float> gradient, std::span<float> buffer, std::span<float> parameter);

// Sum of squares, in double, in a fixed order.
double squared_norm(std::span<const float> x);

// Factor that brings a gradient of that norm down to `most`.
inline double clip_factor(double norm, double most) { return norm > most ? most / norm : 1.0; }

}  // namespace microtome
