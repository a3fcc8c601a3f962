// Probe: a text on which heads are looked at, and what is known of it: random tokens said twice, a given text, a text that is one
// block over and over.
//
//   ProbeText t = repeated_random(model, {.block = 60, .seed = 0});     // 120 tokens
//   find_block(t, std::nullopt);                                        // sets t.block, t.start where the text repeats
//
// Plain data; free functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "microtome/model/model.h"

namespace microtome::heads {

struct ProbeText {
  std::vector<int32_t> ids;
  int64_t block = 0;  // n > 0: from `start` on, the text is a block of n tokens repeated
  int64_t start = 0;  // 1 where a beginning-of-text token stands before the first block
  // Controls: these tokens are run, while targets are those of `ids`. Empty: `ids` itself. As many.
  std::vector<int32_t> run_as;

  int64_t length() const { return static_cast<int64_t>(ids.size()); }
  // First position that repeats an earlier one.
  int64_t second() const { return start + block; }
};

struct RandomText {
  int64_t block = 60;
  int64_t times = 2;  // the block is said this often; 1: nothing repeats
  uint64_t seed = 0;
  std::string purpose = "heads.probe";  // texts of another purpose have other tokens
  uint64_t index = 0;                   // number of the text
  bool bos = false;                     // a beginning-of-text token first, where the tokenizer has one
  bool distinct = false;                // no token twice in a block (where the vocabulary has enough)
  double trim = 0;                      // share of the vocabulary left out at either end of the ids (the commonest, the rarest)
};

// A plan with the edits of another (null: none): what every pass of a run under edits begins with.
Plan edited_plan(const Plan* edits);

// One pass over a text with a plan's reads and edits; logits are made of few rows at a time, so that long texts take no [T, V].
class TextRun {
 public:
  TextRun(const Model& model, const std::vector<int32_t>& ids, Plan plan, const Progress* progress = nullptr);
  // [end - begin, V].
  Tensor logits(int64_t begin, int64_t end) const;

 private:
  const Model& model_;
  Tensor stream_, logits_;  // logits only where edits after the last block change them
};

// Uniformly random ordinary tokens (no special ones). Throws InvalidArgument if the model's context is too short, Unsupported if
// the vocabulary has next to no ordinary token.
ProbeText random_text(const Model& model, const RandomText& options);

// Says whether the text is a block repeated at least twice (the last time perhaps in part), at most one token before it. With
// `block` it must be a block of that many tokens: throws InvalidArgument with the first position that differs.
void find_block(ProbeText& text, std::optional<int64_t> block);

// The control of a text: its targets, on tokens in a seeded order (a text whose tokens say nothing about each other; `start`
// stays where it is), or, of a block repeated, on random tokens that do not repeat.
ProbeText control_text(const Model& model, const ProbeText& text, uint64_t seed);

}  // namespace microtome::heads
