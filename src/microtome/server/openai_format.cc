#include "microtome/server/openai_format.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "microtome/base/utf8.h"

namespace microtome::server {

TokenLogprob token_logprob(std::span<const float> logits, int32_t id, int64_t alternatives) {
  double best = -INFINITY, sum = 0;
  for (const float x : logits) best = std::max<double>(best, x);
  for (const float x : logits) sum += std::exp(x - best);
  const double lse = best + std::log(sum);
  TokenLogprob out{id, logits[id] - lse, {}};
  for (const auto& [other, logit] : top_logits(logits, alternatives)) out.top.emplace_back(other, logit - lse);
  return out;
}

AnswerHead answer_head(Endpoint endpoint, const api::Context& context) {
  std::random_device device;
  const std::string number = fmt::format("{:08x}{:08x}{:08x}", device(), device(), device());
  const char* compute = context.model->compute_mode() == ComputeMode::kBF16 ? "bf16" : "f32";
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {endpoint, (endpoint == Endpoint::kChat ? "chatcmpl-" : "cmpl-") + number,
          std::chrono::duration_cast<std::chrono::seconds>(now).count(), context.name, fmt::format("microtome-{}", compute)};
}

Json usage_json(const Usage& u) {
  return {{"prompt_tokens", u.prompt_tokens},
          {"completion_tokens", u.completion_tokens},
          {"total_tokens", u.prompt_tokens + u.completion_tokens}};
}

namespace {

int64_t characters(std::string_view text) {
  int64_t n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return n;
}

std::string_view bytes_of(const Model& model, int32_t id) {
  const Tokenizer* tokenizer = model.tokenizer();
  return tokenizer && id < tokenizer->vocab_size() ? tokenizer->token_bytes(id) : std::string_view();
}

Json chat_token(const Model& model, int32_t id, double logprob) {
  Json bytes = Json::array();
  for (const char c : bytes_of(model, id)) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", api::token_text(model, id)}, {"logprob", logprob}, {"bytes", bytes}};
}

Json chat_logprobs(const Model& model, const std::vector<TokenLogprob>& logprobs) {
  Json content = Json::array();
  for (const TokenLogprob& t : logprobs) {
    Json entry = chat_token(model, t.id, t.logprob);
    entry["top_logprobs"] = Json::array();
    for (const auto& [id, logprob] : t.top) entry["top_logprobs"].push_back(chat_token(model, id, logprob));
    content.push_back(std::move(entry));
  }
  return {{"content", content}, {"refusal", Json()}};
}

Json finish_json(const std::optional<FinishReason>& finish) { return finish ? Json(to_string(*finish)) : Json(); }

Json head_json(const AnswerHead& head, const char* chat_object) {
  return {{"id", head.id},
          {"object", head.endpoint == Endpoint::kChat ? chat_object : "text_completion"},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", head.fingerprint}};
}

}  // namespace

Json logprobs_json(Endpoint endpoint, const Model& model, const std::vector<TokenLogprob>& logprobs, int64_t& offset) {
  if (endpoint == Endpoint::kChat) return chat_logprobs(model, logprobs);
  Json tokens = Json::array(), values = Json::array(), top = Json::array(), offsets = Json::array();
  for (const TokenLogprob& t : logprobs) {
    tokens.push_back(api::token_text(model, t.id));
    values.push_back(t.logprob);
    offsets.push_back(offset);
    offset += characters(bytes_of(model, t.id));
    Json alternatives = Json::object();
    for (const auto& [id, logprob] : t.top) alternatives[api::token_text(model, id)] = logprob;
    top.push_back(std::move(alternatives));
  }
  return {{"tokens", tokens}, {"token_logprobs", values}, {"top_logprobs", top}, {"text_offset", offsets}};
}

Json completion_json(const AnswerHead& head, const Model& model, const std::vector<Choice>& choices, const Usage& usage,
                     bool with_logprobs) {
  Json out = head_json(head, "chat.completion");
  out["choices"] = Json::array();
  for (const Choice& c : choices) {
    int64_t offset = 0;
    Json choice{{"index", c.index}};
    if (head.endpoint == Endpoint::kChat)
      choice["message"] = {{"role", "assistant"}, {"content", utf8_lossy(c.text)}, {"refusal", Json()}};
    else choice["text"] = utf8_lossy(c.text);
    choice["logprobs"] = with_logprobs ? logprobs_json(head.endpoint, model, c.logprobs, offset) : Json();
    choice["finish_reason"] = finish_json(c.finish);
    out["choices"].push_back(std::move(choice));
  }
  out["usage"] = usage_json(usage);
  return out;
}

Json chunk_json(const AnswerHead& head, const Model& model, const Choice& piece, bool first, bool with_logprobs, int64_t& offset,
                bool include_usage) {
  Json out = head_json(head, "chat.completion.chunk");
  Json choice{{"index", piece.index}};
  if (head.endpoint == Endpoint::kChat) {
    choice["delta"] = Json::object();
    if (first) choice["delta"]["role"] = "assistant";
    if (first || !piece.text.empty()) choice["delta"]["content"] = utf8_lossy(piece.text);
  } else {
    choice["text"] = utf8_lossy(piece.text);
  }
  const bool has = with_logprobs && !piece.logprobs.empty();
  choice["logprobs"] = has ? logprobs_json(head.endpoint, model, piece.logprobs, offset) : Json();
  choice["finish_reason"] = finish_json(piece.finish);
  out["choices"] = Json::array({std::move(choice)});
  if (include_usage) out["usage"] = Json();
  return out;
}

Json usage_chunk_json(const AnswerHead& head, const Usage& usage) {
  Json out = head_json(head, "chat.completion.chunk");
  out["choices"] = Json::array();
  out["usage"] = usage_json(usage);
  return out;
}

}  // namespace microtome::server
