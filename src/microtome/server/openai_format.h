// Answers of the OpenAI API as JSON: choices, log-probabilities, streamed pieces, usage.
#pragma once

#include <string>
#include <vector>

#include "microtome/decode/generate.h"
#include "microtome/server/openai_request.h"

namespace microtome::server {

// A token as the model chose it, and those it might have chosen; natural logs of the model's own distribution, before temperature
// and bias.
struct TokenLogprob {
  int32_t id = 0;
  double logprob = 0;
  std::vector<std::pair<int32_t, double>> top;  // best first
};
TokenLogprob token_logprob(std::span<const float> logits, int32_t id, int64_t alternatives);

// What does not change over one answer.
struct AnswerHead {
  Endpoint endpoint;
  std::string id;   // "chatcmpl-..."
  int64_t created;  // Unix time, seconds
  std::string model;
  std::string fingerprint;  // of the program and how it computes
};
AnswerHead answer_head(Endpoint endpoint, const api::Context& context);

struct Usage {
  int64_t prompt_tokens = 0, completion_tokens = 0;
};
Json usage_json(const Usage& usage);

// One answer so far, or one streamed piece of it.
struct Choice {
  int64_t index = 0;
  std::string text;
  std::vector<TokenLogprob> logprobs;
  std::optional<FinishReason> finish;
};

// `offset`: characters of the text before the first token of `logprobs`; advanced (completions only).
Json logprobs_json(Endpoint endpoint, const Model& model, const std::vector<TokenLogprob>& logprobs, int64_t& offset);

Json completion_json(const AnswerHead& head, const Model& model, const std::vector<Choice>& choices, const Usage& usage,
                     bool with_logprobs);

// A streamed event. `first`: the choice's first, which names the role in a chat. `usage` of all but the last event is null where
// the client asked for it, absent where it did not.
Json chunk_json(const AnswerHead& head, const Model& model, const Choice& piece, bool first, bool with_logprobs, int64_t& offset,
                bool include_usage);
Json usage_chunk_json(const AnswerHead& head, const Usage& usage);

}  // namespace microtome::server
