// Pre-tokenizers: cut text into the pieces within which byte-pair merges happen. Hand-written equivalents of the regular
// expressions that the models were trained with.
//
//   for (size_t at = 0; at < text.size();) {
//     const size_t end = next_piece(PreTokenizer::kGpt2, text, at);
//     use(text.substr(at, end - at));
//     at = end;
//   }
//
// With L letter, N number, P neither of these nor white space; the first alternative that matches wins. *Tail rule*: white
// space before something else gives up its last character.
//
//   kGpt2         's 't 're 've 'm 'll 'd | [space]L+ | [space]N+ | [space]P+ | white space (tail rule) | white space
//   kDigitsGpt2   every N cut out by itself, then kGpt2 on what lies between (SmolLM, StarCoder)
//   kLlama3       contractions in any case | [one char but CR, LF, L, N]L+ | N{1,3} | [space]P+ with trailing CR and LF |
//                 white space that ends in CR or LF | white space (tail rule) | white space
//   kQwen2        kLlama3 with single N
//   kDigits       every N cut out by itself, the rest whole
//   kWhole        no cuts
//
// Bytes that are not UTF-8 count as P. Thread-safe.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace microtome {

enum class PreTokenizer { kGpt2, kDigitsGpt2, kLlama3, kQwen2, kDigits, kWhole };

// End of the piece that starts at byte `begin` < text.size(); greater than `begin`.
size_t next_piece(PreTokenizer kind, std::string_view text, size_t begin);

// A pre-tokenizer by the name that GGUF files give it ("smollm", "llama-bpe", ...), or nothing.
std::optional<PreTokenizer> pre_tokenizer_named(std::string_view name);

// The names it knows, for messages: "gpt-2, smollm, ...".
std::string pre_tokenizer_names();

}  // namespace microtome
