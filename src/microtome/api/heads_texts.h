// The texts that `heads` looks at (internal to api/): random tokens said twice, the input, or the input's first tokens said
// twice.
#pragma once

#include "microtome/api/heads.h"
#include "microtome/circuits/heads/attention_scores.h"

namespace microtome::api {

struct HeadTexts {
  std::vector<heads::ProbeText> texts;
  std::string kind;
  heads::ScoreOptions score;
  Plan edits;  // of every pass
};

// Throws InvalidArgument: a measure that there is not, options that contradict each other, edits that do not fit, text that is no
// such block.
HeadTexts head_texts(const Context& context, const HeadsOptions& options);

// {kind, lengths[], block, start, seed, tokens[]}; the tokens of the first text.
Json texts_json(const HeadTexts& texts, const HeadsOptions& options);

}  // namespace microtome::api
