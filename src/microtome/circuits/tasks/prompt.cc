#include "microtome/circuits/tasks/prompt.h"

#include <numeric>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"

namespace microtome {

std::vector<Piece> fill(std::string_view text, const std::map<std::string, Piece, std::less<>>& words) {
  std::vector<Piece> out;
  for (size_t at = 0; at < text.size();) {
    const size_t open = std::min(text.find('{', at), text.size());
    if (open > at) out.push_back({std::string(text.substr(at, open - at)), ""});
    if (open == text.size()) break;
    const size_t close = text.find('}', open);
    MT_CHECK(close != std::string_view::npos);
    const std::string name(text.substr(open + 1, close - open - 1));
    Piece word = words.at(name);
    if (word.role.empty()) word.role = name;
    out.push_back(std::move(word));
    at = close + 1;
  }
  return out;
}

Prompt make_prompt(const TaskSource& source, std::span<const Piece> pieces) {
  const Tokenizer& tokenizer = need_tokenizer(source, "this task");
  Prompt out;
  std::vector<std::pair<size_t, std::string>> ends;  // a role's last byte
  for (const Piece& p : pieces) {
    out.text += p.text;
    if (!p.role.empty()) ends.emplace_back(out.text.size() - 1, p.role);
  }
  out.ids = tokenizer.encode(out.text, {.add_bos = source.bos, .add_eos = false});
  size_t byte = 0, next = 0;
  const bool bos = !out.ids.empty() && tokenizer.bos() && out.ids[0] == *tokenizer.bos();
  for (size_t i = bos ? 1 : 0; i < out.ids.size(); ++i) {
    byte += tokenizer.token_bytes(out.ids[i]).size();
    for (; next < ends.size() && ends[next].first < byte; ++next) out.positions[ends[next].second] = static_cast<int>(i);
  }
  MT_CHECK(next == ends.size());
  out.positions["END"] = static_cast<int>(out.ids.size()) - 1;
  return out;
}

std::optional<TaskExample> make_pair(const TaskSource& source, std::span<const Piece> clean, std::span<const Piece> corrupted) {
  Prompt a = make_prompt(source, clean), b = make_prompt(source, corrupted);
  if (a.ids.size() != b.ids.size() || a.ids == b.ids) return {};
  if (std::ssize(a.ids) > source.config.context) return {};
  for (const auto& [role, position] : b.positions)
    if (const auto it = a.positions.find(role); it != a.positions.end() && it->second != position) return {};
  TaskExample out;
  out.example.clean = std::move(a.ids);
  out.example.corrupted = std::move(b.ids);
  out.example.positions = std::move(a.positions);
  out.clean = std::move(a.text);
  out.corrupted = std::move(b.text);
  return out;
}

std::optional<int32_t> single_token(const TaskSource& source, const std::string& text) {
  if (!source.tokenizer) return {};
  const std::vector<int32_t> ids = source.tokenizer->encode(text, {.specials = false, .add_bos = false, .add_eos = false});
  if (ids.size() != 1 || ids[0] >= source.config.vocab) return {};
  return ids[0];
}

std::vector<std::string> single_words(const TaskSource& source, std::span<const char* const> words, size_t least,
                                      std::string_view task, std::string_view before) {
  const Tokenizer& tokenizer = need_tokenizer(source, task);
  std::vector<std::string> out;
  std::string refused;
  for (const char* word : words) {
    const std::string text = std::string(before) + word;
    if (single_token(source, text)) out.push_back(text);
    else if (refused.empty()) refused = text;
  }
  if (out.size() >= least) return out;
  std::string pieces;
  for (const int32_t id : tokenizer.encode(refused, {.specials = false, .add_bos = false, .add_eos = false}))
    pieces += (pieces.empty() ? "\"" : " + \"") + tokenizer.token_text(id) + "\"";
  throw Error(ErrorKind::kUnsupported,
              "task {}: this model's tokenizer splits its words: \"{}\" is {}; only {} of {} words are one token, {} are needed; "
              "choose another task, or write pairs of your own (--pairs)",
              task, printable(refused), printable(pieces, 120), out.size(), words.size(), least);
}

const Tokenizer& need_tokenizer(const TaskSource& source, std::string_view task) {
  if (!source.tokenizer)
    throw Error(ErrorKind::kUnsupported,
                "{} is made of text, and this model has no tokenizer; use the task induction, or pairs of token ids (--pairs)",
                task == "this task" ? std::string(task) : fmt::format("task {}", task));
  return *source.tokenizer;
}

std::vector<size_t> shuffled(size_t n, uint64_t seed, std::string_view purpose, uint64_t index) {
  const Philox rng(seed, purpose);
  std::vector<size_t> out(n);
  std::iota(out.begin(), out.end(), size_t{0});
  for (size_t i = n; i > 1; --i) std::swap(out[i - 1], out[rng.below(i, index, i)]);
  return out;
}

}  // namespace microtome
