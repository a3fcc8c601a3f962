// Example: one prompt pair of a task, and the answers that tell its two sides apart.
//
//   Example e{.clean = ids("When Mary and John ... gave a drink to"), .corrupted = ..., .answers = {mary}, .wrong = {john}};
//   check_example(e, config);
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "microtome/model/config.h"

namespace microtome {

struct Example {
  std::vector<int32_t> clean, corrupted;  // equally many tokens, T
  std::vector<int32_t> answers, wrong;    // single tokens, predicted at the last position; either may be empty (kl, loss)
  bool best_wrong = false;                // of several wrong answers the best counts, not their mean (or sum)
  int64_t loss_from = 0;                  // first position whose next token the metric `loss` scores
  std::map<std::string, int> positions;   // named token roles ("S2", "END"), each a position in 0 .. T - 1

  int64_t length() const { return static_cast<int64_t>(clean.size()); }
};

// Throws InvalidArgument for sides of different length (with both lengths and what to do), an empty one, ids outside of the
// vocabulary, a role outside of the prompt.
void check_example(const Example& example, const Config& config);

}  // namespace microtome
