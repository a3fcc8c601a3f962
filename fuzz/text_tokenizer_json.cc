#include <string_view>

#include "fuzzing.h"
#include "microtome/text/tokenizer.h"

using namespace microtome;

// What loads encodes anything, and its ids decode.
FUZZ_READER(bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Tokenizer tokenizer = Tokenizer::from_huggingface(text);
  tokenizer.decode(tokenizer.encode(text.substr(0, 1000)));
  for (int id = 0; id < std::min(tokenizer.vocab_size(), 1000); ++id) tokenizer.token_text(id);
  allow_refusal([&] { Tokenizer::from_huggingface(text, text); });
}
