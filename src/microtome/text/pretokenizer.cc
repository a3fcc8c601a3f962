#include "microtome/text/pretokenizer.h"

#include "microtome/text/unicode_class.h"

namespace microtome {
namespace {

constexpr uint32_t kLongS = 0x17F;  // ſ, an s when case is ignored

bool is_newline(uint32_t code) { return code == '\r' || code == '\n'; }

// End of the run of characters of one class from `pos` on.
size_t skip_class(std::string_view text, size_t pos, CharClass kind) {
  for (CharAt c = char_at(text, pos); c.length > 0 && c.kind == kind; c = char_at(text, pos)) pos += c.length;
  return pos;
}

// End of a contraction ('s 't 'm 'd 're 've 'll) that starts at `pos`, or `pos`.
size_t skip_contraction(std::string_view text, size_t pos, bool any_case) {
  if (text[pos] != '\'') return pos;
  const auto letter = [&](const CharAt& c) -> uint32_t {
    if (any_case && c.code == kLongS) return 's';
    return any_case && c.code >= 'A' && c.code <= 'Z' ? c.code + 32 : c.code;
  };
  const CharAt first = char_at(text, pos + 1);
  if (first.length == 0) return pos;
  const uint32_t a = letter(first);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return pos + 1 + first.length;
  const uint32_t b = letter(char_at(text, pos + 1 + first.length));
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return pos + 3;
  return pos;
}

// White space from `pos` on under the tail rule. `pos` must be at white space.
size_t skip_space(std::string_view text, size_t pos) {
  size_t end = pos, last = pos;
  CharAt c = char_at(text, end);
  for (; c.length > 0 && c.kind == CharClass::kSpace; c = char_at(text, end)) {
    last = end;
    end += c.length;
  }
  return c.length > 0 && last > pos ? last : end;
}

size_t next_gpt2(std::string_view text, size_t begin) {
  if (const size_t end = skip_contraction(text, begin, false); end > begin) return end;
  const CharAt first = char_at(text, begin);
  const size_t body = begin + (first.code == ' ' ? 1 : 0);
  const CharAt c = char_at(text, body);
  if (c.length > 0 && c.kind != CharClass::kSpace) return skip_class(text, body, c.kind);
  return skip_space(text, begin);
}

// `text` up to the next number, so that look-ahead ends there.
size_t next_digits(std::string_view text, size_t begin, bool then_gpt2) {
  const CharAt first = char_at(text, begin);
  if (first.kind == CharClass::kNumber) return begin + first.length;
  if (then_gpt2) {
    // A piece of letters or of P ends before a number by itself; only white space looks ahead.
    size_t end = next_gpt2(text, begin);
    if (first.kind != CharClass::kSpace) return end;
    const size_t run = skip_class(text, begin, CharClass::kSpace);
    return char_at(text, run).kind == CharClass::kNumber ? run : end;
  }
  size_t end = begin;
  for (CharAt c = first; c.length > 0 && c.kind != CharClass::kNumber; c = char_at(text, end)) end += c.length;
  return end;
}

size_t next_llama3(std::string_view text, size_t begin, int max_digits) {
  if (const size_t end = skip_contraction(text, begin, true); end > begin) return end;
  const CharAt first = char_at(text, begin);
  if (first.kind == CharClass::kLetter) return skip_class(text, begin, CharClass::kLetter);
  const CharAt second = char_at(text, begin + first.length);
  if (first.kind == CharClass::kNumber) {
    size_t end = begin + first.length;
    for (int n = 1; n < max_digits && char_at(text, end).kind == CharClass::kNumber; ++n) end += char_at(text, end).length;
    return end;
  }
  if (!is_newline(first.code) && second.length > 0 && second.kind == CharClass::kLetter)
    return skip_class(text, begin + first.length, CharClass::kLetter);
  const size_t body = begin + (first.code == ' ' ? 1 : 0);
  const CharAt c = char_at(text, body);
  if (c.length > 0 && c.kind == CharClass::kOther) {
    size_t end = skip_class(text, body, CharClass::kOther);
    while (end < text.size() && is_newline(static_cast<uint8_t>(text[end]))) ++end;
    return end;
  }
  // White space: up to its last newline if it has one.
  size_t end = begin, after_newline = begin;
  for (CharAt s = first; s.length > 0 && s.kind == CharClass::kSpace; s = char_at(text, end)) {
    end += s.length;
    if (is_newline(s.code)) after_newline = end;
  }
  return after_newline > begin ? after_newline : skip_space(text, begin);
}

struct Name {
  std::string_view name;
  PreTokenizer kind;
};

constexpr Name kNames[] = {
    {"gpt-2", PreTokenizer::kGpt2},
    {"gpt2", PreTokenizer::kGpt2},
    {"gpt-neox", PreTokenizer::kGpt2},
    {"olmo", PreTokenizer::kGpt2},
    {"mpt", PreTokenizer::kGpt2},
    {"phi-2", PreTokenizer::kGpt2},
    {"smollm", PreTokenizer::kDigitsGpt2},
    {"starcoder", PreTokenizer::kDigitsGpt2},
    {"refact", PreTokenizer::kDigitsGpt2},
    {"command-r", PreTokenizer::kDigitsGpt2},
    {"llama-bpe", PreTokenizer::kLlama3},
    {"llama3", PreTokenizer::kLlama3},
    {"llama-v3", PreTokenizer::kLlama3},
    {"qwen2", PreTokenizer::kQwen2},
    {"deepseek-r1-qwen", PreTokenizer::kQwen2},
    {"stablelm2", PreTokenizer::kQwen2},
};

}  // namespace

size_t next_piece(PreTokenizer kind, std::string_view text, size_t begin) {
  switch (kind) {
    case PreTokenizer::kGpt2: return next_gpt2(text, begin);
    case PreTokenizer::kDigitsGpt2: return next_digits(text, begin, true);
    case PreTokenizer::kLlama3: return next_llama3(text, begin, 3);
    case PreTokenizer::kQwen2: return next_llama3(text, begin, 1);
    case PreTokenizer::kDigits: return next_digits(text, begin, false);
    case PreTokenizer::kWhole: break;
  }
  return text.size();
}

std::optional<PreTokenizer> pre_tokenizer_named(std::string_view name) {
  for (const Name& known : kNames) {
    if (known.name == name) return known.kind;
  }
  return std::nullopt;
}

std::string pre_tokenizer_names() {
  std::string names;
  for (const Name& known : kNames) {
    if (!names.empty()) names += ", ";
    names += known.name;
  }
  return names;
}

}  // namespace microtome
