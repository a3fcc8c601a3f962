#include "microtome/text/chat_template.h"

#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/text/jinja/evaluator.h"
#include "microtome/text/jinja/parser.h"

namespace microtome {

ChatTemplate::ChatTemplate(std::string_view source) : template_(std::make_unique<const jinja::Template>(jinja::parse(source))) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::vector<TextSpan> ChatTemplate::render(const std::vector<ChatMessage>& messages, const ChatOptions& options) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages) list.push_back({{"role", message.role}, {"content", message.content}});
  return render(list, Json(), Json::object(), options);
}

std::vector<TextSpan> ChatTemplate::render(const Json& messages, const Json& tools, const Json& extra,
                                           const ChatOptions& options) const {
  if (!messages.is_array())
    throw Error(ErrorKind::kInvalidArgument, "chat: messages are {}, expected a list", messages.type_name());
  jinja::Environment environment;
  environment.now = options.now;
  auto& variables = environment.variables;
  // The first of a name counts, so nothing extra replaces what is set here.
  variables.emplace_back("messages", jinja::from_json(messages, true));
  variables.emplace_back("tools", jinja::from_json(tools, true));
  variables.emplace_back("add_generation_prompt", options.add_generation_prompt);
  variables.emplace_back("bos_token", jinja::make_text(options.bos));
  variables.emplace_back("eos_token", jinja::make_text(options.eos));
  if (extra.is_object()) {
    for (const auto& [name, value] : extra.items()) variables.emplace_back(name, jinja::from_json(value, true));
  }
  return jinja::evaluate(*template_, std::move(environment)).spans();
}

ChatOptions chat_options(const Tokenizer& tokenizer, bool add_generation_prompt) {
  ChatOptions options;
  options.add_generation_prompt = add_generation_prompt;
  if (tokenizer.bos()) options.bos = tokenizer.token_bytes(*tokenizer.bos());
  if (tokenizer.eos()) options.eos = tokenizer.token_bytes(*tokenizer.eos());
  return options;
}

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const std::vector<TextSpan>& spans) {
  return tokenizer.encode(spans, {.add_bos = false, .add_eos = false});
}

}  // namespace microtome
