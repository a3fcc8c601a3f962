#include "microtome/train/optimizer.h"

#include <algorithm>
#include <vector>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"

namespace microtome {
namespace {

constexpr int64_t kGrain = 1 << 14;

}  // namespace

void sgd_step(const SgdOptions& o, std::span<const float> gradient, std::span<float> buffer, std::span<float> parameter) {
  MT_CHECK_EQ(gradient.size(), parameter.size());
  MT_CHECK_EQ(buffer.size(), parameter.size());
  const auto lr = static_cast<float>(o.lr), momentum = static_cast<float>(o.momentum), decay = static_cast<float>(o.weight_decay);
  parallel_for(std::ssize(parameter), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float g = gradient[i] + decay * parameter[i];
      buffer[i] = momentum * buffer[i] + g;
      parameter[i] -= lr * (o.nesterov ? g + momentum * buffer[i] : buffer[i]);
    }
  });
}

double squared_norm(std::span<const float> x) {
  std::vector<double> parts((x.size() + kGrain - 1) / kGrain, 0.0);
  parallel_for(std::ssize(x), kGrain, [&](int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(x[i]) * x[i];
    parts[begin / kGrain] = sum;
  });
  double sum = 0;
  for (const double p : parts) sum += p;
  return sum;
}

}  // namespace microtome
