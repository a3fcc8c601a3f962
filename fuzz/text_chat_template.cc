#include <string_view>

#include "fuzzing.h"
#include "microtome/text/chat_template.h"

using namespace microtome;

FUZZ_READER(bytes) {
  const ChatTemplate chat(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  for (const std::vector<ChatMessage>& messages :
       {std::vector<ChatMessage>{}, std::vector<ChatMessage>{{"system", "s"}, {"user", " a b\n"}, {"assistant", "é\xff"}}})
    allow_refusal([&] { chat.render(messages, {.bos = "<s>", .eos = "</s>", .now = 1}); });
}
