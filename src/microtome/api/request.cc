#include "microtome/api/request.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/text/chat_template.h"

namespace microtome::api {
namespace {

void check_length(const Context& context, int64_t n, const char* what) {
  if (n == 0)
    throw FieldError(
        "prompt",
        fmt::format("{} is empty: it has no tokens; give some text, or --bos for the beginning-of-text token alone", what));
  const int64_t most = context.model->config().context;
  if (n > most) throw FieldError("prompt", fmt::format("{} has {} tokens, the model's context is {}; shorten it", what, n, most));
}

}  // namespace

std::vector<int32_t> encode_text(const Context& context, const std::string& text, std::optional<bool> bos, bool chat) {
  const Tokenizer& tokenizer = context.model->need_tokenizer();
  if (!chat) return tokenizer.encode(text, {.add_bos = bos});
  if (tokenizer.chat_template().empty()) throw FieldError("chat", "this model has no chat template");
  const ChatTemplate chat_template(tokenizer.chat_template());
  return encode_chat(tokenizer, chat_template.render({{"user", text}}, chat_options(tokenizer)));
}

std::vector<std::vector<int32_t>> encode_input(const Context& context, const InputOptions& input) {
  const int given = input.prompt.has_value() + !input.prompts.empty() + !input.tokens.empty();
  if (given == 0) throw FieldError("prompt", "no input: give a prompt, a file, or token ids");
  if (given > 1) throw FieldError("prompt", "several inputs: give one of prompt, file, prompts, tokens");
  // No token is that long: such a text is too long for the model without being cut into tokens first.
  constexpr size_t kMostBytesPerToken = 1024;
  const size_t most_bytes = static_cast<size_t>(context.model->config().context) * kMostBytesPerToken;
  const auto check_bytes = [&](const std::string& text) {
    if (text.size() > most_bytes)
      throw FieldError("prompt", fmt::format("the prompt has {} bytes, more than {} tokens can be; shorten it", text.size(),
                                             context.model->config().context));
  };
  if (input.prompt) check_bytes(*input.prompt);
  for (const std::string& p : input.prompts) check_bytes(p);
  std::vector<std::vector<int32_t>> out;
  if (input.prompt) out.push_back(encode_text(context, *input.prompt, input.bos, input.chat));
  for (const std::string& p : input.prompts) out.push_back(encode_text(context, p, input.bos, input.chat));
  for (const auto& ids : input.tokens) {
    for (const int32_t id : ids)
      if (id < 0 || id >= context.model->config().vocab)
        throw FieldError("tokens",
                         fmt::format("token id {} is outside of the vocabulary of {}", id, context.model->config().vocab));
    out.push_back(ids);
  }
  for (size_t i = 0; i < out.size(); ++i)
    check_length(context, std::ssize(out[i]), out.size() == 1 ? "the prompt" : fmt::format("prompt {}", i + 1).c_str());
  return out;
}

int64_t longest_of(const std::vector<std::vector<int32_t>>& prompts) {
  int64_t longest = 0;
  for (const auto& p : prompts) longest = std::max<int64_t>(longest, std::ssize(p));
  return longest;
}

std::string token_text(const Model& model, int32_t id) {
  const Tokenizer* tokenizer = model.tokenizer();
  if (!tokenizer || id < 0 || id >= tokenizer->vocab_size()) return fmt::format("#{}", id);
  return tokenizer->token_text(id);
}

Json token_json(const Model& model, int32_t id) { return {{"id", id}, {"text", token_text(model, id)}}; }

int32_t find_token(const Model& model, const std::string& text) {
  const int64_t vocab = model.config().vocab;
  if (text.size() > 1 && text[0] == '#' && text.find_first_not_of("0123456789", 1) == std::string::npos && text.size() <= 10) {
    const int64_t id = std::stoll(text.substr(1));
    if (id >= vocab) throw FieldError("target", fmt::format("token id {} is outside of the vocabulary of {}", id, vocab));
    return static_cast<int32_t>(id);
  }
  if (!model.tokenizer())
    throw FieldError("target", fmt::format("\"{}\" is a text, and this model has no tokenizer; give a token as #id, as in #17",
                                           printable(text)));
  const Tokenizer& tokenizer = *model.tokenizer();
  // A tokenizer may know more tokens than the model has rows for.
  const auto in_vocabulary = [&](int32_t id) {
    if (id >= vocab)
      throw FieldError("target",
                       fmt::format("\"{}\" is token {}, outside of the model's vocabulary of {}", printable(text), id, vocab));
    return id;
  };
  if (const auto id = tokenizer.find(text)) return in_vocabulary(*id);
  const std::vector<int32_t> ids = tokenizer.encode(text, {.specials = false, .add_bos = false, .add_eos = false});
  if (ids.size() == 1) return in_vocabulary(ids[0]);
  std::string pieces;
  for (const int32_t id : ids) pieces += (pieces.empty() ? "\"" : " + \"") + tokenizer.token_text(id) + "\"";
  const bool spaced = tokenizer.find(" " + text).has_value();
  throw FieldError("target",
                   fmt::format("\"{}\" is not one token but {} ({}){}", printable(text), ids.size(), printable(pieces, 120),
                               spaced ? fmt::format("; did you mean \" {}\", with a space before it?", printable(text)) : ""));
}

// --- fields --------------------------------------------------------------------------------------------------------------------

Fields::Fields(const Json& object) : object_(object) {
  if (!object.is_object()) throw Error(ErrorKind::kInvalidArgument, "the request is not a JSON object");
}

const Json* Fields::find(const std::string& name) {
  known_.insert(name);
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

std::optional<std::string> Fields::text(const std::string& name) {
  const Json* v = find(name);
  if (!v) return {};
  if (!v->is_string()) throw FieldError(name, fmt::format("\"{}\" is not a string", name));
  return v->get<std::string>();
}

std::optional<int64_t> Fields::integer(const std::string& name, int64_t low, int64_t high) {
  const std::optional<double> x = number(name);
  if (!x) return {};
  if (*x != std::floor(*x) || *x < static_cast<double>(low) || *x > static_cast<double>(high))
    throw FieldError(name, fmt::format("\"{}\" is {}, expected a whole number from {} to {}", name, *x, low, high));
  return static_cast<int64_t>(*x);
}

std::optional<double> Fields::number(const std::string& name) {
  const Json* v = find(name);
  if (!v) return {};
  if (!v->is_number() || !std::isfinite(v->get<double>())) throw FieldError(name, fmt::format("\"{}\" is not a number", name));
  return v->get<double>();
}

std::optional<bool> Fields::boolean(const std::string& name) {
  const Json* v = find(name);
  if (!v) return {};
  if (!v->is_boolean()) throw FieldError(name, fmt::format("\"{}\" is not true or false", name));
  return v->get<bool>();
}

std::vector<std::string> Fields::texts(const std::string& name) {
  const Json* v = find(name);
  std::vector<std::string> out;
  if (!v) return out;
  if (v->is_string()) return {v->get<std::string>()};
  if (!v->is_array()) throw FieldError(name, fmt::format("\"{}\" is not a string or a list of strings", name));
  for (const Json& e : *v) {
    if (!e.is_string()) throw FieldError(name, fmt::format("\"{}\" holds something that is not a string", name));
    out.push_back(e.get<std::string>());
  }
  return out;
}

namespace {

std::vector<int32_t> token_list(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& e : list) {
    const double x = e.is_number() ? e.get<double>() : NAN;
    if (!(x >= 0 && x <= 2147483647.0) || x != std::floor(x))
      throw FieldError("tokens", "\"tokens\" holds something that is not a token id");
    ids.push_back(static_cast<int32_t>(x));
  }
  return ids;
}

}  // namespace

InputOptions Fields::input() {
  InputOptions in;
  for (const char* file : {"file", "tokens-npy"})
    if (find(file))
      throw FieldError(file, fmt::format("\"{}\" names a file, which a request must not; send \"prompt\" or \"tokens\"", file));
  in.prompt = text("prompt");
  in.prompts = texts("prompts");
  if (in.prompts.size() > 1024)
    throw FieldError("prompts", fmt::format("\"prompts\" holds {} prompts, at most 1024 in one request", in.prompts.size()));
  if (const Json* tokens = find("tokens")) {
    if (!tokens->is_array()) throw FieldError("tokens", "\"tokens\" is not a list");
    const bool batch = !tokens->empty() && tokens->at(0).is_array();
    if (!batch) in.tokens.push_back(token_list(*tokens));
    else
      for (const Json& row : *tokens) {
        if (!row.is_array()) throw FieldError("tokens", "\"tokens\" mixes lists and ids");
        in.tokens.push_back(token_list(row));
      }
  }
  in.bos = boolean("bos");
  in.chat = boolean("chat").value_or(false);
  return in;
}

std::vector<EditOptions> Fields::edits() {
  std::vector<EditOptions> out;
  const Json* list = find("edits");
  if (!list) return out;
  if (!list->is_array()) throw FieldError("edits", "\"edits\" is not a list");
  if (list->size() > 1000) throw FieldError("edits", "\"edits\" holds more than 1000 edits");
  for (const Json& e : *list) out.push_back(edit_from_json(e));
  return out;
}

void Fields::finish() const {
  for (const auto& [name, value] : object_.items())
    if (!known_.contains(name)) {
      std::string all;
      for (const std::string& k : known_) all += (all.empty() ? "" : ", ") + k;
      throw FieldError(name, fmt::format("unknown field \"{}\"; known are {}", printable(name), all));
    }
}

}  // namespace microtome::api
