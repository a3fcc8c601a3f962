// Generation: one sequence, its cache, and a loop of forwards under a plan.
//
//   GenerateOptions options{.max_tokens = 40};
//   Generated g = generate(model, prompt_ids, plan, options, [](const Step& s) { ... return true; });
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "microtome/decode/sampler.h"
#include "microtome/model/model.h"

namespace microtome {

enum class FinishReason : uint8_t {
  kLength,  // max_tokens, or the model's context is full
  kStop,    // a stop string, or a token that ends the answer
  kCancelled,
};
const char* to_string(FinishReason reason);  // "length", "stop", "cancelled"

struct GenerateOptions {
  int64_t max_tokens = 64;
  SamplingOptions sampling;
  std::vector<std::string> stop;  // the text ends before the first of these
  bool stop_at_end_of_turn = true;
  bool use_cache = true;        // false: every step runs the whole sequence again (the definition)
  int64_t prefill_chunk = 512;  // rows per forward of the prompt; edits that take means make it one
  // Also run the last token, from which nothing is drawn: a plan's reads then see every token.
  bool run_last_token = false;
  const Progress* progress = nullptr;
};

// One new token. `logits` [V] are those it was drawn from and lie in the engine's memory.
struct Step {
  int64_t index;  // from 0
  int32_t id;
  std::string text;  // what can be shown by now; never splits a UTF-8 character, never runs past a stop string
  std::span<const float> logits;
};

struct Generated {
  std::vector<int32_t> ids;  // with the token that ended it, if one did
  std::string text;
  FinishReason finish = FinishReason::kLength;
  double prompt_s = 0, decode_s = 0;
};

// `on_step` returns false to stop (kCancelled). The plan's logit rows are set here. Throws InvalidArgument for an empty prompt
// or one that fills the model's context.
Generated generate(const Model& model, const std::vector<int32_t>& prompt, Plan& plan, const GenerateOptions& options,
                   const std::function<bool(const Step&)>& on_step = {});

// Runs a prompt's rows through the model into `cache`, in chunks; the last row's logits [V].
Tensor prefill(const Model& model, std::span<const int32_t> prompt, Plan& plan, KvCache& cache, int64_t chunk,
               const Progress* progress);

}  // namespace microtome
