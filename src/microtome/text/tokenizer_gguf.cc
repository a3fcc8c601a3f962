#include "microtome/base/error.h"
#include "microtome/text/byte_alphabet.h"
#include "microtome/text/tokenizer_impl.h"

namespace microtome {
namespace {

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The byte of a token written "<0x0A>".
std::optional<char> byte_token(std::string_view written) {
  if (written.size() != 6 || written.substr(0, 3) != "<0x" || written[5] != '>') return std::nullopt;
  const int high = hex_digit(written[3]), low = hex_digit(written[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

void add_tokens(const BpeSource& source, TokenizerBuilder& builder) {
  std::string bytes;
  std::vector<std::pair<uint8_t, int32_t>> byte_tokens;
  for (size_t i = 0; i < source.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string_view written = source.tokens[i];
    const int32_t type = source.token_types.empty() ? kNormal : source.token_types[i];
    if (type == kControl || type == kUserDefined || type == kUnknown) {
      builder.add_added({.id = id, .content = std::string(written), .special = type != kUserDefined});
      continue;
    }
    if (const auto byte = type == kByte ? byte_token(written) : std::nullopt) {
      builder.set_record(id, {&*byte, 1}, false);
      byte_tokens.emplace_back(static_cast<uint8_t>(*byte), id);
      continue;
    }
    bytes.clear();
    const bool encodable = type == kNormal && append_from_alphabet(written, bytes);
    builder.set_record(id, encodable ? std::string_view(bytes) : written, false);
    if (encodable) builder.impl->bpe.add_token(id, bytes);
  }
  for (const auto& [byte, id] : byte_tokens) {
    if (builder.impl->bpe.byte_id(byte) == Bpe::kNone) builder.impl->bpe.set_byte(byte, id);
  }
}

void add_merges(const BpeSource& source, TokenizerBuilder& builder) {
  std::string pair;
  for (size_t i = 0; i < source.merges.size(); ++i) {
    const std::string_view written = source.merges[i];
    const size_t space = written.find(' ', 1);
    pair.clear();
    bool good = space != std::string_view::npos && append_from_alphabet(written.substr(0, space), pair);
    const size_t split = pair.size();
    good = good && append_from_alphabet(written.substr(space + 1), pair);
    const std::string_view both = pair;
    if (!good || !builder.impl->bpe.add_merge(both.substr(0, split), both.substr(split)))
      throw Error(ErrorKind::kCorrupt, "gguf: merge {} \"{}\" does not join two tokens of the vocabulary into a third", i,
                  printable(written));
  }
}

}  // namespace

Tokenizer Tokenizer::from_bpe(const BpeSource& source) {
  if (source.tokens.empty()) throw Error(ErrorKind::kCorrupt, "gguf: tokenizer.ggml.tokens is empty");
  if (!source.token_types.empty() && source.token_types.size() != source.tokens.size())
    throw Error(ErrorKind::kCorrupt, "gguf: tokenizer.ggml.token_type has {} entries, tokenizer.ggml.tokens {}",
                source.token_types.size(), source.tokens.size());
  const std::optional<PreTokenizer> pre = pre_tokenizer_named(source.pre);
  if (!pre)
    throw Error(ErrorKind::kUnsupported, "gguf: pre-tokenizer \"{}\" is not known (known: {})", printable(source.pre),
                pre_tokenizer_names());

  TokenizerBuilder builder;
  Impl& impl = *builder.impl;
  size_t text = 0;
  for (const std::string_view token : source.tokens) text += token.size();
  impl.bytes.reserve(text);
  impl.records.reserve(source.tokens.size());
  impl.bpe.reserve(source.tokens.size(), source.merges.size(), text);
  add_tokens(source, builder);
  add_merges(source, builder);

  impl.pre = *pre;
  // GGUF does not say so, but the tokenizers of these families normalise, and Llama 3 takes whole pieces as they are.
  impl.normalize_nfc = source.pre == "qwen2" || source.pre == "deepseek-r1-qwen" || source.pre == "gpt-neox" ||
                       source.pre == "olmo" || source.pre == "mpt";
  impl.bpe.set_ignore_merges(*pre == PreTokenizer::kLlama3);
  impl.bos = source.bos;
  impl.eos = source.eos;
  impl.unk = source.unk;
  impl.pad = source.pad;
  if (source.add_bos && source.bos) impl.prefix = {*source.bos};
  if (source.add_eos && source.eos) impl.suffix = {*source.eos};
  impl.chat_template = source.chat_template;
  return builder.finish();
}

}  // namespace microtome
