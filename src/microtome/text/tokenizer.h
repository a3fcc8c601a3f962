// Tokenizer: byte-level BPE, from a Hugging Face tokenizer.json or from GGUF metadata; same ids as the `tokenizers` library.
//
//   Tokenizer tokenizer = Tokenizer::from_huggingface(json, config);
//   std::vector<int32_t> ids = tokenizer.encode("The capital of Portugal");
//   std::string text = tokenizer.decode(ids);                          // the same bytes
//   StreamDecoder stream(tokenizer);                                   // text as the tokens arrive (stream_decoder.h)
//
// Text is bytes: what is not UTF-8 is encoded too and comes back unchanged. Two things lose bytes, as in the reference: a
// normalizer (NFC), and a vocabulary without a token for some byte (`missing_bytes`).
//
// Threads: const members may be called from several threads at once. Movable, not copyable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace microtome {

// The metadata tokenizer.ggml.* of a GGUF file. The views need only live during `from_bpe`.
struct BpeSource {
  std::vector<std::string_view> tokens = {};  // written in the byte alphabet of GPT-2 ("Ġthe")
  std::vector<int32_t> token_types = {};      // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte; may be empty
  std::vector<std::string_view> merges = {};  // "Ġ t", best first
  std::string pre = {};                       // name of the pre-tokenizer: "gpt-2", "smollm", "llama-bpe", "qwen2", ...
  std::optional<int> bos = {}, eos = {}, unk = {}, pad = {};
  bool add_bos = false, add_eos = false;
  std::string chat_template = {};  // empty: none
};

struct EncodeOptions {
  // Recognise control tokens ("<|im_end|>") written in the text. Added tokens that are not control tokens (runs of spaces in
  // GPT-NeoX) are part of the vocabulary and always recognised.
  bool specials = true;
  // Absent: as the tokenizer is configured.
  std::optional<bool> add_bos = {}, add_eos = {};
};

// A stretch of a rendered chat: in what a user typed (`is_input`), control tokens are plain text.
struct TextSpan {
  std::string text;
  bool is_input = false;
  bool operator==(const TextSpan&) const = default;
};

class Tokenizer {
 public:
  struct Impl;  // tokenizer_impl.h

  // `tokenizer_config`: the text of tokenizer_config.json, or empty. Throws kCorrupt for what is malformed and kUnsupported,
  // naming the construct, for what is well-formed but not byte-level BPE as this class knows it.
  static Tokenizer from_huggingface(std::string_view tokenizer_json, std::string_view tokenizer_config = {});
  static Tokenizer from_bpe(const BpeSource& source);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // The spans joined and encoded as one text, but no control token is recognised that touches input. `options.specials` must
  // be true. See also `encode_chat` (chat_template.h).
  std::vector<int32_t> encode(std::span<const TextSpan> spans, const EncodeOptions& options = {}) const;

  // Bytes; may end inside a UTF-8 character. `skip_special` leaves control tokens out.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  // Number of ids, unnamed ones included. Every function that takes an id throws kInvalidArgument outside [0, vocab_size()).
  int vocab_size() const;
  // Makes ids up to `size` valid but unnamed (models pad their embedding); never shrinks.
  void extend_to(int size);

  std::string_view token_bytes(int id) const;  // empty for unnamed ids
  std::string token_text(int id) const;        // for people: bytes that are not UTF-8 as <0xE2>, unnamed ids as <unused 50300>
  bool is_special(int id) const;               // a control token
  // The one token that is exactly these bytes, control tokens included.
  std::optional<int> find(std::string_view text) const;

  std::optional<int> bos() const;
  std::optional<int> eos() const;
  std::optional<int> pad() const;
  std::optional<int> unk() const;
  bool adds_bos() const;
  bool adds_eos() const;
  // Ids that end an answer: eos and the vocabulary's known end-of-turn tokens; ascending.
  const std::vector<int32_t>& end_of_turn() const;
  bool is_end_of_turn(int id) const;

  // Template of the checkpoint, empty if it has none.
  const std::string& chat_template() const;
  // Bytes that no token can express; `encode` leaves them out (or writes `unk` where the model says so). Ascending.
  std::vector<uint8_t> missing_bytes() const;

 private:
  friend struct TokenizerBuilder;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace microtome
