// From logits to the next token.
//
//   Sampler sampler({.temperature = 0.8, .top_k = 40, .seed = 7});
//   int32_t token = sampler.draw(logits, index);      // index: how many tokens this sequence has drawn before
//
// Order: logit bias, top-k, top-p, min-p, temperature, draw (llama.cpp's order, temperature last). Exactly one uniform number
// per token, keyed by (seed, stream, index): the result does not depend on batch or scheduling. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace microtome {

struct SamplingOptions {
  double temperature = 0;  // 0: the most probable token
  int64_t top_k = 0;       // 0: off
  double top_p = 1;        // smallest sorted prefix with probability >= top_p
  double min_p = 0;        // keep p >= min_p * largest p
  uint64_t seed = 0;
  uint64_t stream = 0;                   // tells several continuations of one request apart
  std::map<int32_t, double> logit_bias;  // added to the logits of these ids; ids outside of the vocabulary do nothing
};

// Throws InvalidArgument naming the option that is out of range.
void validate(const SamplingOptions& options);

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  // Throws InvalidArgument if no logit is finite.
  int32_t draw(std::span<const float> logits, uint64_t index);

 private:
  struct Candidate {
    int32_t id;
    double logit, p;
  };
  static bool better(const Candidate& a, const Candidate& b);
  void truncate();
  SamplingOptions options_;
  std::vector<Candidate> candidates_;
};

// The k largest entries, best first; ties go to the lower id.
std::vector<std::pair<int32_t, float>> top_logits(std::span<const float> logits, int64_t k);

}  // namespace microtome
