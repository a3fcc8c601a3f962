#include "microtome/server/openai_request.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

namespace microtome::server {
namespace {

using api::FieldError;
using api::Fields;

constexpr int64_t kMostAnswers = 128;  // prompts times n
constexpr size_t kMostStops = 16, kMostStopBytes = 1000;
constexpr size_t kMostBiases = 300;
constexpr int64_t kMostAlternatives = 20;

// These say who asks, how to bill or to store it: nothing that changes the text.
constexpr const char* kIgnored[] = {"model",
                                    "user",
                                    "store",
                                    "metadata",
                                    "service_tier",
                                    "safety_identifier",
                                    "prompt_cache_key",
                                    "parallel_tool_calls",
                                    "prompt_cache_retention"};

// These may be given with the value that changes nothing.
void refuse_unsupported(Fields& f) {
  for (const char* name : {"presence_penalty", "frequency_penalty"})
    if (const auto x = f.number(name); x && *x != 0)
      throw FieldError(name, fmt::format("\"{}\" is not supported; leave it out or send 0", name));
  const auto is_empty = [](const Json& v) { return (v.is_array() || v.is_object() || v.is_string()) && v.empty(); };
  for (const char* name : {"tools", "functions", "suffix"})
    if (const Json* v = f.find(name); v && !is_empty(*v) && *v != "")
      throw FieldError(name, fmt::format("\"{}\" is not supported", name));
  for (const char* name : {"tool_choice", "function_call"})
    if (const Json* v = f.find(name); v && *v != "none" && *v != "auto")
      throw FieldError(name, fmt::format("\"{}\" is not supported: there are no tools", name));
  if (const Json* v = f.find("response_format"); v && !(v->is_object() && v->value("type", Json()) == "text"))
    throw FieldError("response_format", "\"response_format\" can only be {\"type\": \"text\"}");
  if (const Json* v = f.find("modalities"); v && *v != Json::array({"text"}))
    throw FieldError("modalities", "\"modalities\" can only be [\"text\"]");
}

double in_range(Fields& f, const char* name, double fallback, double low, double high) {
  const double x = f.number(name).value_or(fallback);
  if (x < low || x > high) throw FieldError(name, fmt::format("\"{}\" is {}, expected {} to {}", name, x, low, high));
  return x;
}

// Whole numbers of all 64 bits, negative ones included.
uint64_t read_seed(Fields& f) {
  const Json* v = f.find("seed");
  if (!v) {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
  }
  if (v->is_number_unsigned()) return v->get<uint64_t>();
  if (v->is_number_integer()) return static_cast<uint64_t>(v->get<int64_t>());
  throw FieldError("seed", "\"seed\" is not a whole number");
}

std::map<int32_t, double> read_logit_bias(Fields& f) {
  std::map<int32_t, double> out;
  const Json* v = f.find("logit_bias");
  if (!v) return out;
  if (!v->is_object()) throw FieldError("logit_bias", "\"logit_bias\" is not an object {token id: number}");
  if (v->size() > kMostBiases)
    throw FieldError("logit_bias", fmt::format("\"logit_bias\" names more than {} tokens", kMostBiases));
  for (const auto& [key, bias] : v->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0)
      throw FieldError("logit_bias", fmt::format("\"logit_bias\" names \"{}\", expected a token id", printable(key)));
    const double x = bias.is_number() ? bias.get<double>() : NAN;
    if (!(x >= -100 && x <= 100))
      throw FieldError("logit_bias", fmt::format("the bias of token {} is not a number from -100 to 100", id));
    out[id] = x;
  }
  return out;
}

std::vector<std::string> read_stop(Fields& f) {
  std::vector<std::string> stop = f.texts("stop");
  if (stop.size() > kMostStops) throw FieldError("stop", fmt::format("\"stop\" holds more than {} strings", kMostStops));
  for (const std::string& s : stop) {
    if (s.empty()) throw FieldError("stop", "\"stop\" holds an empty string");
    if (s.size() > kMostStopBytes)
      throw FieldError("stop", fmt::format("\"stop\" holds a string of more than {} bytes", kMostStopBytes));
  }
  return stop;
}

void read_sampling(Fields& f, CompletionRequest& r) {
  r.sampling.temperature = in_range(f, "temperature", 1, 0, 1000);
  r.sampling.top_p = in_range(f, "top_p", 1, 0, 1);
  // OpenAI takes 0 for "the best token only"; the smallest positive number means the same here.
  if (r.sampling.top_p == 0) r.sampling.top_p = 1e-300;
  r.sampling.min_p = in_range(f, "min_p", 0, 0, 1);
  r.sampling.top_k = f.integer("top_k", 0, 1 << 30).value_or(0);
  r.sampling.seed = read_seed(f);
  r.sampling.logit_bias = read_logit_bias(f);
}

// --- completions ---------------------------------------------------------------------------------------------------------------

std::vector<int32_t> read_ids(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& e : list) {
    if (!e.is_number_unsigned() || e.get<uint64_t>() > 0x7fffffff)
      throw FieldError("prompt", "\"prompt\" holds something that is not a token id");
    ids.push_back(e.get<int32_t>());
  }
  return ids;
}

// A text, a list of texts, a list of ids, or a list of lists of ids.
std::vector<PromptInput> read_prompts(const Json* v) {
  if (!v) throw FieldError("prompt", "\"prompt\" is missing");
  if (v->is_string()) return {{.text = v->get<std::string>(), .ids = {}}};
  if (!v->is_array() || v->empty())
    throw FieldError("prompt", "\"prompt\" is not a text, a list of texts, or a list of token ids");
  if (v->at(0).is_number()) return {{.text = {}, .ids = read_ids(*v)}};
  std::vector<PromptInput> out;
  for (const Json& e : *v) {
    if (e.is_string()) out.push_back({.text = e.get<std::string>(), .ids = {}});
    else if (e.is_array()) out.push_back({.text = {}, .ids = read_ids(e)});
    else throw FieldError("prompt", "\"prompt\" holds something that is neither a text nor a list of token ids");
  }
  return out;
}

void read_completions(Fields& f, CompletionRequest& r) {
  r.prompts = read_prompts(f.find("prompt"));
  r.max_tokens = f.integer("max_tokens", 0, 1 << 30).value_or(16);
  r.logprobs = f.integer("logprobs", 0, kMostAlternatives);
  r.echo = f.boolean("echo").value_or(false);
  if (const auto best_of = f.integer("best_of", 1, kMostAnswers); best_of && *best_of != r.n)
    throw FieldError("best_of", "\"best_of\" is not supported; leave it out or give it the value of \"n\"");
  if (r.echo && r.logprobs)
    throw FieldError("echo",
                     "\"echo\" together with \"logprobs\" is not supported; /api/lens gives the log-probabilities of a prompt");
}

// --- chat ----------------------------------------------------------------------------------------------------------------------

std::string read_content(const Json& message, size_t i) {
  const auto it = message.find("content");
  if (it == message.end() || it->is_null()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_array())
    throw FieldError("messages", fmt::format("the content of message {} is neither a text nor a list of parts", i));
  std::string text;
  for (const Json& part : *it) {
    const bool good =
        part.is_object() && part.value("type", Json()) == "text" && part.contains("text") && part["text"].is_string();
    if (!good)
      throw FieldError(
          "messages",
          fmt::format("message {} holds a part that is not {{\"type\": \"text\", \"text\": ...}}; this model reads text only",
                      i));
    text += part["text"].get<std::string>();
  }
  return text;
}

std::vector<ChatMessage> read_messages(const Json* v) {
  if (!v) throw FieldError("messages", "\"messages\" is missing");
  if (!v->is_array() || v->empty()) throw FieldError("messages", "\"messages\" is not a list of messages");
  std::vector<ChatMessage> out;
  for (size_t i = 0; i < v->size(); ++i) {
    const Json& m = (*v)[i];
    if (!m.is_object() || !m.contains("role") || !m["role"].is_string())
      throw FieldError("messages", fmt::format("message {} has no role", i));
    std::string role = m["role"].get<std::string>();
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant")
      throw FieldError("messages",
                       fmt::format("message {} has the role \"{}\", expected system, user or assistant", i, printable(role)));
    for (const char* name : {"tool_calls", "function_call", "audio"})
      if (const auto it = m.find(name); it != m.end() && !it->is_null() && !it->empty())
        throw FieldError("messages", fmt::format("message {} holds \"{}\", which is not supported", i, name));
    out.push_back({role, read_content(m, i)});
  }
  return out;
}

void read_chat(Fields& f, CompletionRequest& r) {
  r.messages = read_messages(f.find("messages"));
  const auto older = f.integer("max_tokens", 0, 1 << 30), newer = f.integer("max_completion_tokens", 0, 1 << 30);
  r.max_tokens = newer ? newer : older;
  const bool wanted = f.boolean("logprobs").value_or(false);
  const auto alternatives = f.integer("top_logprobs", 0, kMostAlternatives);
  if (alternatives && *alternatives > 0 && !wanted) throw FieldError("top_logprobs", "\"top_logprobs\" needs \"logprobs\": true");
  if (wanted) r.logprobs = alternatives.value_or(0);
}

}  // namespace

CompletionRequest parse_completion(const Json& body, Endpoint endpoint) {
  Fields f(body);
  CompletionRequest r;
  r.endpoint = endpoint;
  for (const char* name : kIgnored) f.find(name);
  refuse_unsupported(f);
  r.n = f.integer("n", 1, kMostAnswers).value_or(1);
  if (endpoint == Endpoint::kChat) read_chat(f, r);
  else read_completions(f, r);
  if (std::ssize(r.prompts) * r.n > kMostAnswers)
    throw FieldError("n", fmt::format("{} prompts times {} answers are more than {}; send several requests", r.prompts.size(),
                                      r.n, kMostAnswers));
  read_sampling(f, r);
  r.stop = read_stop(f);
  r.stream = f.boolean("stream").value_or(false);
  if (const Json* options = f.find("stream_options")) {
    Fields o(*options);
    r.include_usage = o.boolean("include_usage").value_or(false);
  }
  r.edits = f.edits();
  f.finish();
  return r;
}

namespace {

void check_prompt(const api::Context& context, const std::vector<int32_t>& ids, const char* field) {
  const int64_t n = std::ssize(ids), most = context.model->config().context, vocab = context.model->config().vocab;
  if (n == 0) throw FieldError(field, fmt::format("\"{}\" is empty: there are no tokens to go on from", field));
  if (n >= most)
    throw FieldError(field,
                     fmt::format("\"{}\" has {} tokens, which fill the model's context of {}; shorten it", field, n, most));
  for (const int32_t id : ids)
    if (id < 0 || id >= vocab) throw FieldError(field, fmt::format("token id {} is outside of the vocabulary of {}", id, vocab));
}

std::vector<int32_t> encode_messages(const api::Context& context, const CompletionRequest& r) {
  const Tokenizer& tokenizer = context.model->need_tokenizer();
  if (tokenizer.chat_template().empty()) throw FieldError("messages", "this model has no chat template; use /v1/completions");
  try {
    return encode_chat(tokenizer, ChatTemplate(tokenizer.chat_template()).render(r.messages, chat_options(tokenizer)));
  } catch (const Error& e) {
    throw FieldError("messages", e.what());  // the template's own words, as "roles must alternate"
  }
}

}  // namespace

std::vector<std::vector<int32_t>> encode_prompts(const api::Context& context, const CompletionRequest& request) {
  std::vector<std::vector<int32_t>> out;
  for (const auto& [id, bias] : request.sampling.logit_bias)
    if (id >= context.model->config().vocab)
      throw FieldError("logit_bias", fmt::format("\"logit_bias\" names token {}, outside of the vocabulary of {}", id,
                                                 context.model->config().vocab));
  if (request.endpoint == Endpoint::kChat) {
    out.push_back(encode_messages(context, request));
    check_prompt(context, out[0], "messages");
    return out;
  }
  for (const PromptInput& p : request.prompts) {
    out.push_back(p.text ? api::encode_text(context, *p.text, {}, false) : p.ids);
    check_prompt(context, out.back(), "prompt");
  }
  return out;
}

}  // namespace microtome::server
