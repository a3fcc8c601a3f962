// What heads do to tokens, read from their OV circuits: the next of an ordered class, less of themselves.
//
//   auto s = successor_scores(model, seed);        // share of words whose successor the head writes most, of the class
//   auto c = suppression_scores(model, {.tokens = 256}, progress);
//
// A token is the stream after block 0 of that token alone (E_eff, circuits specification, section 4). Scores are of all heads,
// layer * H + head. One call at a time.
#pragma once

#include <string>
#include <vector>

#include "microtome/model/model.h"

namespace microtome::heads {

// The stream after block 0 of each token alone, [n, D].
Tensor effective_embeddings(const Model& model, const std::vector<int32_t>& tokens);

// γ ⊙ W_U[:, t] of each token (without its mean where norms centre), [n, D]: what the final stream is dotted with.
std::vector<float> unembed_rows(const Model& model, const std::vector<int32_t>& tokens);

struct MapScores {
  std::vector<double> scores, control;  // [heads]; control: see each function
  std::vector<std::string> classes;     // successor: those whose words are single tokens here
  int64_t tokens = 0;
};

// Share of words w of the ordered classes (days, months, numbers, letters, ordinals) for which, of the class's words, the head's
// output for E_eff(w) is largest at the next one; mean over classes. Control: the same with the class in a seeded random order.
// Throws Unsupported if the tokenizer has no class as single tokens.
MapScores successor_scores(const Model& model, uint64_t seed);

struct SuppressionOptions {
  int64_t tokens = 256;  // seeded sample of the vocabulary; all, if it has no more
  int lowest = 10;
  uint64_t seed = 0;
  int random_heads = 8;
};
// Share of tokens that are themselves among the `lowest` of their row of E_eff OV W_U (McDougall et al. 2023). Control: the same
// of heads with random weights (as many numbers as random_heads).
MapScores suppression_scores(const Model& model, const SuppressionOptions& options, Progress* progress = nullptr);

}  // namespace microtome::heads
