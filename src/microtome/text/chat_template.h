// Chat templates: the Jinja template that a checkpoint carries, rendered into spans that remember what a user typed.
//
//   ChatTemplate chat(tokenizer.chat_template());
//   std::vector<TextSpan> spans = chat.render({{"user", "Hi"}}, chat_options(tokenizer));
//   std::vector<int32_t> ids = encode_chat(tokenizer, spans);          // control tokens only where the template wrote them
//
// The subset of Jinja is listed in jinja/parser.h; anything else is kUnsupported with its line. Depth, steps and output are
// bounded, so a hostile template ends in an error. Threads: `render` may be called from several threads at once.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "microtome/base/json.h"
#include "microtome/text/tokenizer.h"

namespace microtome {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", ...
  std::string content;
};

struct ChatOptions {
  bool add_generation_prompt = true;  // end with the opening of the assistant's turn
  std::string bos = {}, eos = {};     // what the template calls bos_token and eos_token
  int64_t now = 0;                    // what strftime_now prints, in local time: seconds since 1970; 0: the clock
};

namespace jinja {
struct Template;
}

class ChatTemplate {
 public:
  // Throws kUnsupported or kInvalidArgument naming the line.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // Neighbouring spans differ in `is_input`. Everything that comes from the messages is input, roles included. Throws
  // kInvalidArgument with the template's own words where it calls raise_exception.
  std::vector<TextSpan> render(const std::vector<ChatMessage>& messages, const ChatOptions& options = {}) const;
  // The general form: `messages` an array of objects, `tools` an array or null, `extra` an object of further variables.
  std::vector<TextSpan> render(const Json& messages, const Json& tools, const Json& extra, const ChatOptions& options) const;

 private:
  std::unique_ptr<const jinja::Template> template_;
};

// bos and eos of a tokenizer as texts, for `render`.
ChatOptions chat_options(const Tokenizer& tokenizer, bool add_generation_prompt = true);

// Ids of a rendered chat. No bos is added: the template writes it.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const std::vector<TextSpan>& spans);

}  // namespace microtome
