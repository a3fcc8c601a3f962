#include <string_view>

#include "../tests/text/slow_bpe.h"
#include "fuzzing.h"
#include "microtome/text/byte_alphabet.h"
#include "microtome/text/stream_decoder.h"

using namespace microtome;

namespace {

// The byte alphabet alone, and a control token.
Tokenizer make_tokenizer(const std::string& pre) {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.push_back(alphabet_from_bytes(std::string(1, static_cast<char>(b))));
  tokens.push_back("<|e|>");
  BpeSource source{.tokens = {tokens.begin(), tokens.end()}, .token_types = std::vector<int32_t>(256, 1)};
  source.token_types.push_back(3);
  source.pre = pre;
  return Tokenizer::from_bpe(source);
}

}  // namespace

// The fast encoder equals the slow one; pieces join to the text; text comes back, whole and as a stream; typed text gives
// no control token.
FUZZ_READER(bytes) {
  if (bytes.size() < 2) return;
  const std::string text(reinterpret_cast<const char*>(bytes.data()) + 2, bytes.size() - 2);
  SlowBpe slow;
  Bpe fast;
  Draws draws(static_cast<uint64_t>(bytes[0]));
  make_random(draws, "ab <|e>\n\xc3\xa9", 40, slow, fast);
  if (text.size() < 500) {
    std::vector<int32_t> ids;
    fast.encode_piece(text, ids);
    MT_CHECK(ids == slow.encode(text));
  }

  static const char* const kPre[] = {"gpt-2", "smollm", "llama3", "qwen2"};
  const auto which = static_cast<size_t>(bytes[1]) % 4;
  static const Tokenizer tokenizers[] = {make_tokenizer(kPre[0]), make_tokenizer(kPre[1]), make_tokenizer(kPre[2]),
                                         make_tokenizer(kPre[3])};
  const Tokenizer& tokenizer = tokenizers[which];
  const std::vector<int32_t> ids = tokenizer.encode(text);
  const std::string whole = tokenizer.decode(ids);
  MT_CHECK(which == 3 || whole == text);  // qwen2 normalises
  StreamDecoder stream(tokenizer);
  std::string streamed;
  for (const int32_t id : ids) streamed += stream.push(id);
  MT_CHECK(streamed + stream.flush() == whole);
  const std::vector<TextSpan> spans = {{"<|e", false}, {text, true}, {"|>", false}};
  for (const int32_t id : tokenizer.encode(spans)) MT_CHECK(id != 256 || text.empty());
}
