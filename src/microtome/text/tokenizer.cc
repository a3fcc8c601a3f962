#include "microtome/text/tokenizer.h"

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/base/utf8.h"
#include "microtome/text/normalize.h"
#include "microtome/text/tokenizer_impl.h"

namespace microtome {
namespace {

// Control tokens that end a turn in the chat formats in use.
constexpr std::string_view kEndOfTurn[] = {"<|im_end|>",    "<|eot_id|>",      "<|eom_id|>",    "<|end|>",
                                           "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>", "<|end_of_turn|>"};

std::vector<InputRange> clip(const std::vector<InputRange>& input, size_t begin, size_t end) {
  std::vector<InputRange> clipped;
  for (const InputRange& range : input) {
    const InputRange part = {std::max(range.begin, begin), std::min(range.end, end)};
    if (part.begin < part.end) clipped.push_back({part.begin - begin, part.end - begin});
  }
  return clipped;
}

void surround(const std::vector<int32_t>& configured, std::optional<int> token, std::optional<bool> wanted, const char* name,
              std::vector<int32_t>& ids) {
  if (!wanted.value_or(!configured.empty())) return;
  if (!configured.empty()) {
    ids.insert(ids.end(), configured.begin(), configured.end());
  } else if (token) {
    ids.push_back(*token);
  } else {
    throw Error(ErrorKind::kInvalidArgument, "tokenizer: a {} token was asked for, but the vocabulary has none", name);
  }
}

}  // namespace

void Tokenizer::Impl::check_id(int id) const {
  if (id < 0 || static_cast<size_t>(id) >= records.size())
    throw Error(ErrorKind::kInvalidArgument, "token id {} is not in the vocabulary (0 to {})", id,
                static_cast<int64_t>(records.size()) - 1);
}

void Tokenizer::Impl::encode_text(std::string_view text, const std::vector<InputRange>& input, bool specials,
                                  std::vector<int32_t>& ids) const {
  if (added.empty()) return encode_between_added(text, input, specials, ids);
  for (const AddedTokens::Part& part : added.split(text, input, specials)) {
    if (part.id >= 0) ids.push_back(part.id);
    else encode_between_added(text.substr(part.begin, part.end - part.begin), clip(input, part.begin, part.end), specials, ids);
  }
}

void Tokenizer::Impl::encode_between_added(std::string_view text, std::vector<InputRange> input, bool specials,
                                           std::vector<int32_t>& ids) const {
  std::string normalized;
  if (normalize_nfc && !is_surely_nfc(text)) {
    normalized = nfc(text, input);
    text = normalized;
  }
  if (added_after_normalizer.empty()) return encode_plain(text, ids);
  for (const AddedTokens::Part& part : added_after_normalizer.split(text, input, specials)) {
    if (part.id >= 0) ids.push_back(part.id);
    else encode_plain(text.substr(part.begin, part.end - part.begin), ids);
  }
}

void Tokenizer::Impl::encode_plain(std::string_view text, std::vector<int32_t>& ids) const {
  std::string prefixed;
  if (add_prefix_space && !text.empty() && text[0] != ' ') {
    prefixed = ' ';
    prefixed += text;
    text = prefixed;
  }
  for (size_t at = 0; at < text.size();) {
    const size_t end = next_piece(pre, text, at);
    bpe.encode_piece(text.substr(at, end - at), ids);
    at = end;
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 4);
  surround(impl_->prefix, impl_->bos, options.add_bos, "beginning-of-text", ids);
  impl_->encode_text(text, {}, options.specials, ids);
  surround(impl_->suffix, impl_->eos, options.add_eos, "end-of-text", ids);
  return ids;
}

std::vector<int32_t> Tokenizer::encode(std::span<const TextSpan> spans, const EncodeOptions& options) const {
  MT_CHECK(options.specials);
  std::string text;
  std::vector<InputRange> input;
  for (const TextSpan& span : spans) {
    if (span.is_input && !span.text.empty()) input.push_back({text.size(), text.size() + span.text.size()});
    text += span.text;
  }
  std::vector<int32_t> ids;
  surround(impl_->prefix, impl_->bos, options.add_bos, "beginning-of-text", ids);
  impl_->encode_text(text, input, true, ids);
  surround(impl_->suffix, impl_->eos, options.add_eos, "end-of-text", ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string out;
  for (const int32_t id : ids) {
    impl_->check_id(id);
    if (!skip_special || !impl_->records[id].special) out += impl_->bytes_of(id);
  }
  return out;
}

std::string_view Tokenizer::token_bytes(int id) const {
  impl_->check_id(id);
  return impl_->bytes_of(id);
}

std::string Tokenizer::token_text(int id) const {
  impl_->check_id(id);
  return impl_->records[id].named ? utf8_or_hex(impl_->bytes_of(id)) : fmt::format("<unused {}>", id);
}

bool Tokenizer::is_special(int id) const {
  impl_->check_id(id);
  return impl_->records[id].special;
}

std::optional<int> Tokenizer::find(std::string_view text) const {
  const auto added = impl_->added_ids.find(std::string(text));
  if (added != impl_->added_ids.end()) return added->second;
  const int32_t id = impl_->bpe.find(text);
  return id == Bpe::kNone ? std::nullopt : std::optional<int>(id);
}

int Tokenizer::vocab_size() const { return static_cast<int>(impl_->records.size()); }

void Tokenizer::extend_to(int size) {
  if (size > TokenizerBuilder::kMaxIds)
    throw Error(ErrorKind::kInvalidArgument, "tokenizer: a vocabulary of {} ids, at most {} are possible", size,
                TokenizerBuilder::kMaxIds);
  if (size > vocab_size()) impl_->records.resize(static_cast<size_t>(size));
}

std::optional<int> Tokenizer::bos() const { return impl_->bos; }
std::optional<int> Tokenizer::eos() const { return impl_->eos; }
std::optional<int> Tokenizer::pad() const { return impl_->pad; }
std::optional<int> Tokenizer::unk() const { return impl_->unk; }
bool Tokenizer::adds_bos() const { return !impl_->prefix.empty(); }
bool Tokenizer::adds_eos() const { return !impl_->suffix.empty(); }
const std::vector<int32_t>& Tokenizer::end_of_turn() const { return impl_->end_of_turn; }
bool Tokenizer::is_end_of_turn(int id) const {
  return std::binary_search(impl_->end_of_turn.begin(), impl_->end_of_turn.end(), id);
}
const std::string& Tokenizer::chat_template() const { return impl_->chat_template; }

std::vector<uint8_t> Tokenizer::missing_bytes() const {
  std::vector<uint8_t> missing;
  for (int b = 0; b < 256; ++b) {
    if (const int32_t id = impl_->bpe.byte_id(static_cast<uint8_t>(b)); id == Bpe::kNone || id == impl_->unk)
      missing.push_back(static_cast<uint8_t>(b));
  }
  return missing;
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

void TokenizerBuilder::set_record(int64_t id, std::string_view bytes, bool special) {
  if (id < 0 || id >= kMaxIds)
    throw Error(ErrorKind::kCorrupt, "tokenizer: token \"{}\" has id {}, expected 0 to {}", printable(bytes), id, kMaxIds - 1);
  if (impl->bytes.size() + bytes.size() > UINT32_MAX)
    throw Error(ErrorKind::kUnsupported, "tokenizer: the vocabulary holds over 4 GB of text");
  if (static_cast<size_t>(id) >= impl->records.size()) impl->records.resize(static_cast<size_t>(id) + 1);
  impl->records[static_cast<size_t>(id)] = {static_cast<uint32_t>(impl->bytes.size()), static_cast<uint32_t>(bytes.size()), true,
                                            special};
  impl->bytes += bytes;
}

void TokenizerBuilder::add_added(AddedToken token) {
  set_record(token.id, token.content, token.special);
  impl->added_ids.emplace(token.content, token.id);
  (token.normalized ? impl->added_after_normalizer : impl->added).add(std::move(token));
}

Tokenizer TokenizerBuilder::finish() {
  Tokenizer::Impl& t = *impl;
  const auto check = [&](std::optional<int> id, const char* name) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= t.records.size()))
      throw Error(ErrorKind::kCorrupt, "tokenizer: {} is id {}, the vocabulary has {} ids", name, *id, t.records.size());
  };
  check(t.bos, "bos");
  check(t.eos, "eos");
  check(t.unk, "unk");
  check(t.pad, "pad");
  if (t.eos) t.end_of_turn.push_back(*t.eos);
  for (const std::string_view name : kEndOfTurn) {
    const auto found = t.added_ids.find(std::string(name));
    if (found != t.added_ids.end() && t.records[found->second].special) t.end_of_turn.push_back(found->second);
  }
  std::sort(t.end_of_turn.begin(), t.end_of_turn.end());
  t.end_of_turn.erase(std::unique(t.end_of_turn.begin(), t.end_of_turn.end()), t.end_of_turn.end());
  t.bpe.finish();
  return Tokenizer(std::move(impl));
}

}  // namespace microtome
