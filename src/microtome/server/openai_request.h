// Requests of the OpenAI API, /v1/completions and /v1/chat/completions, from JSON to typed options.
//
//   CompletionRequest request = parse_completion(body, Endpoint::kChat);     // no model needed
//   auto prompts = encode_prompts(context, request);
//
// Beyond OpenAI's fields: `top_k`, `min_p` and `edits` (as every command has them). Fields that cannot change the answer are let
// pass; those that would, and are not supported, are refused, so that nobody gets another answer than they asked for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "microtome/api/request.h"
#include "microtome/decode/sampler.h"
#include "microtome/text/chat_template.h"

namespace microtome::server {

enum class Endpoint { kCompletions, kChat };

// A text or token ids.
struct PromptInput {
  std::optional<std::string> text;
  std::vector<int32_t> ids;
};

struct CompletionRequest {
  Endpoint endpoint = Endpoint::kCompletions;
  std::vector<PromptInput> prompts;   // kCompletions
  std::vector<ChatMessage> messages;  // kChat
  std::optional<int64_t> max_tokens;  // absent: to the end of the model's context
  SamplingOptions sampling;           // temperature 1 unless given; a random seed unless given
  int64_t n = 1;                      // answers to each prompt
  std::vector<std::string> stop;
  std::optional<int64_t> logprobs;  // with each token its log-probability and this many alternatives
  bool stream = false;
  bool include_usage = false;  // the stream's last event counts the tokens
  bool echo = false;           // the text begins with the prompt
  std::vector<api::EditOptions> edits;
};

// Throws FieldError (422).
CompletionRequest parse_completion(const Json& body, Endpoint endpoint);

// Token ids of each prompt; a chat is one. Throws FieldError: empty, too long for the context, ids (of logit_bias too) outside of
// the vocabulary.
std::vector<std::vector<int32_t>> encode_prompts(const api::Context& context, const CompletionRequest& request);

}  // namespace microtome::server
