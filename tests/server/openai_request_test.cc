#include "microtome/server/openai_request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace microtome::server {
namespace {

CompletionRequest completion(const char* json) { return parse_completion(parse_json(json, "test"), Endpoint::kCompletions); }
CompletionRequest chat(const char* json) { return parse_completion(parse_json(json, "test"), Endpoint::kChat); }

// The field that is refused; empty if none is.
std::string refused(Endpoint endpoint, const std::string& fields) {
  const char* base = endpoint == Endpoint::kChat ? R"({"messages": [{"role": "user", "content": "Hi"}])" : R"({"prompt": "Hi")";
  try {
    parse_completion(parse_json(base + (fields.empty() ? "" : ", " + fields) + "}", "test"), endpoint);
  } catch (const api::FieldError& e) {
    return e.param();
  }
  return "";
}

TEST(OpenaiRequest, has_openais_defaults) {
  const CompletionRequest c = completion(R"({"prompt": "Hi"})");
  EXPECT_EQ(c.sampling.temperature, 1);
  EXPECT_EQ(c.sampling.top_p, 1);
  EXPECT_EQ(c.max_tokens, 16);
  EXPECT_EQ(c.n, 1);
  EXPECT_FALSE(c.stream);
  EXPECT_FALSE(c.logprobs);
  EXPECT_FALSE(chat(R"({"messages": [{"role": "user", "content": "Hi"}]})").max_tokens);
}

TEST(OpenaiRequest, draws_a_seed_where_none_is_given) {
  EXPECT_NE(completion(R"({"prompt": "Hi"})").sampling.seed, completion(R"({"prompt": "Hi"})").sampling.seed);
  EXPECT_EQ(completion(R"({"prompt": "Hi", "seed": 7})").sampling.seed, 7u);
  EXPECT_EQ(completion(R"({"prompt": "Hi", "seed": -1})").sampling.seed, ~uint64_t{0});
}

TEST(OpenaiRequest, takes_prompts_in_every_form) {
  EXPECT_EQ(completion(R"({"prompt": "a"})").prompts.at(0).text, "a");
  EXPECT_EQ(completion(R"({"prompt": ["a", "b"]})").prompts.at(1).text, "b");
  EXPECT_EQ(completion(R"({"prompt": [5, 7]})").prompts.at(0).ids, (std::vector<int32_t>{5, 7}));
  const auto rows = completion(R"({"prompt": [[5], [7, 9]]})").prompts;
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].ids, (std::vector<int32_t>{7, 9}));
}

TEST(OpenaiRequest, refuses_prompts_that_are_none) {
  for (const char* bad :
       {"{}", R"({"prompt": null})", R"({"prompt": 5})", R"({"prompt": []})", R"({"prompt": [-1]})", R"({"prompt": [1.5]})",
        R"({"prompt": [5, "a"]})", R"({"prompt": ["a", null]})", R"({"prompt": [99999999999]})", R"({"prompt": {"a": 1}})"})
    EXPECT_THROW(completion(bad), api::FieldError) << bad;
}

TEST(OpenaiRequest, joins_the_parts_of_a_message) {
  const auto r = chat(
      R"({"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                                       {"role": "assistant", "content": null}]})");
  ASSERT_EQ(r.messages.size(), 3u);
  EXPECT_EQ(r.messages[0].role, "system");
  EXPECT_EQ(r.messages[1].content, "ab");
  EXPECT_EQ(r.messages[2].content, "");
}

TEST(OpenaiRequest, refuses_messages_it_cannot_read) {
  for (const char* bad :
       {R"({"messages": []})", R"({"messages": "Hi"})", R"({"messages": [5]})", R"({"messages": [{"content": "Hi"}]})",
        R"({"messages": [{"role": "user", "content": 5}]})", R"({"messages": [{"role": "tool", "content": "x"}]})",
        R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
        R"({"messages": [{"role": "assistant", "tool_calls": [{}]}]})"})
    EXPECT_THROW(chat(bad), api::FieldError) << bad;
}

TEST(OpenaiRequest, reads_sampling_and_stop) {
  const auto r = completion(
      R"({"prompt": "Hi", "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "n": 3, "stop": ["a", "b"], "max_tokens": 0,
                                "logit_bias": {"5": -100, "7": 2.5}})");
  EXPECT_EQ(r.sampling.temperature, 0.5);
  EXPECT_EQ(r.sampling.top_p, 0.9);
  EXPECT_EQ(r.sampling.top_k, 40);
  EXPECT_EQ(r.sampling.min_p, 0.1);
  EXPECT_EQ(r.n, 3);
  EXPECT_EQ(r.max_tokens, 0);
  EXPECT_EQ(r.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(r.sampling.logit_bias.at(7), 2.5);
  EXPECT_EQ(completion(R"({"prompt": "Hi", "stop": "x"})").stop, (std::vector<std::string>{"x"}));
}

TEST(OpenaiRequest, reads_log_probabilities_of_both_styles) {
  EXPECT_EQ(completion(R"({"prompt": "Hi", "logprobs": 3})").logprobs, 3);
  EXPECT_EQ(chat(R"({"messages": [{"role": "user", "content": "Hi"}], "logprobs": true})").logprobs, 0);
  EXPECT_EQ(chat(R"({"messages": [{"role": "user", "content": "Hi"}], "logprobs": true, "top_logprobs": 4})").logprobs, 4);
  EXPECT_EQ(refused(Endpoint::kChat, R"("top_logprobs": 4)"), "top_logprobs");
}

TEST(OpenaiRequest, prefers_the_newer_name_of_the_token_limit) {
  EXPECT_EQ(chat(R"({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "max_completion_tokens": 9})").max_tokens,
            9);
}

TEST(OpenaiRequest, lets_pass_what_changes_nothing) {
  EXPECT_EQ(
      refused(
          Endpoint::kChat,
          R"("user": "me", "metadata": {"a": "b"}, "store": false, "tools": null, "tool_choice": "none", "presence_penalty": 0,
                                        "frequency_penalty": 0.0, "response_format": {"type": "text"}, "modalities": ["text"], "parallel_tool_calls": true, "tools": [])"),
      "");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("suffix": null, "best_of": 1, "echo": false)"), "");
}

TEST(OpenaiRequest, refuses_what_would_change_the_answer) {
  EXPECT_EQ(refused(Endpoint::kChat, R"("presence_penalty": 0.5)"), "presence_penalty");
  EXPECT_EQ(refused(Endpoint::kChat, R"("frequency_penalty": -1)"), "frequency_penalty");
  EXPECT_EQ(refused(Endpoint::kChat, R"("tools": [{"type": "function"}])"), "tools");
  EXPECT_EQ(refused(Endpoint::kChat, R"("tool_choice": "required")"), "tool_choice");
  EXPECT_EQ(refused(Endpoint::kChat, R"("response_format": {"type": "json_object"})"), "response_format");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("suffix": "end")"), "suffix");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("best_of": 2)"), "best_of");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("repetition_penalty": 1.1)"), "repetition_penalty");
}

TEST(OpenaiRequest, refuses_values_out_of_range) {
  for (const char* field : {"temperature", "top_p", "min_p", "top_k", "n", "max_tokens", "logprobs"})
    EXPECT_EQ(refused(Endpoint::kCompletions, fmt::format(R"("{}": -1)", field)), field);
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("max_tokens": 1.5)"), "max_tokens");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("max_tokens": "5")"), "max_tokens");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("n": 0)"), "n");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("n": 1000000)"), "n");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("stop": [""])"), "stop");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("stop": [5])"), "stop");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("seed": 1.5)"), "seed");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("stream": "yes")"), "stream");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("logit_bias": {"a": 1})"), "logit_bias");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("logit_bias": {"-5": 1})"), "logit_bias");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("logit_bias": {"5": 101})"), "logit_bias");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"("edits": [{"site": "x", "op": "explode"}])"), "edits");
}

TEST(OpenaiRequest, bounds_prompts_times_answers) {
  std::string prompts;
  for (int i = 0; i < 65; ++i) prompts += (i ? ", \"a\"" : "\"a\"");
  EXPECT_NO_THROW(completion(("{\"prompt\": [" + prompts + "]}").c_str()));
  EXPECT_THROW(completion(("{\"prompt\": [" + prompts + "], \"n\": 2}").c_str()), api::FieldError);
}

}  // namespace
}  // namespace microtome::server
