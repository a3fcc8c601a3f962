// heads: which heads attend to the token before, repeat what followed, copy, move names, ...; each detector beside a control, and
// with `verify` a causal test on its own task.
//
//   const Json r = heads(context, {.detectors = {"induction", "previous"}});      // 60 random tokens said twice
//   r["heads"][0]["scores"]["induction"];
//   r["labels"];                                                                  // heads above a detector's threshold
//
// See docs/heads.md for every definition.
#pragma once

#include "microtome/api/request.h"
#include "microtome/circuits/heads/attention_scores.h"

namespace microtome::api {

struct HeadsOptions {
  std::optional<InputOptions> input;   // absent: random tokens said twice
  std::vector<std::string> detectors;  // empty: those of attention, and copying
  std::optional<std::string> measure;  // mul | abs | stripe
  std::optional<int64_t> block;        // the text is a block of so many tokens, repeated
  std::optional<int64_t> repeat;       // make such a text: of the input's first tokens, or of random ones
  bool exclude_bos = false, exclude_current = false;
  std::optional<bool> bos;         // of a random text
  bool entropy = false;            // also each head's mean entropy
  std::optional<Tensor> patterns;  // [H, T, T] from elsewhere, with the input's tokens: no model runs
  std::vector<EditOptions> edits;  // of every pass; what is read from weights alone knows none
  bool verify = false;
  int64_t top = 5;       // heads ablated at most, of each detector
  int64_t draws = 20;    // of random heads
  int64_t tokens = 256;  // copy_suppression: tokens looked at
  int64_t prompts = 16;  // ioi
  uint64_t seed = 0;
};

// Field names are the long options; `patterns` is a nested list [H][T][T].
HeadsOptions heads_options(const Json& request);

// {model, text{}, measure, heads[{layer, head, scores{}, controls{}, details{}}], labels[], icl, loss{}, prefix_matching[],
// controls{}, verified[], warnings[], seconds}. Throws InvalidArgument, Unsupported (a task that the tokenizer cannot say).
Json heads(const Context& context, const HeadsOptions& options);

// A heat map of each detector, layers down and heads across, as one SVG image.
std::string heads_svg(const Json& result);

}  // namespace microtome::api
