// Greater-than (Hanna et al. 2023): "The war lasted from the year XXYY to the year XX" wants a year after YY.
//
// Where two digits are one token, answers are the years above YY and wrong ones those up to it; the corrupted side has YY = 01.
// Where the tokenizer writes digit by digit, the next token is the decade: answers are the digits above YY's first, wrong ones
// those below, and the corrupted side has 0 in its place.
#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/tasks/all.h"
#include "microtome/circuits/tasks/prompt.h"

namespace microtome {
namespace {

constexpr std::string_view kTemplate = "The{NOUN} lasted from the year {XX1}{YY} to the year {XX2}";
constexpr const char* kNouns[] = {"war",          "conflict", "siege",      "dispute",  "famine",     "plague",
                                  "rebellion",    "campaign", "journey",    "voyage",   "project",    "treaty",
                                  "alliance",     "trial",    "drought",    "reign",    "dynasty",    "empire",
                                  "revolt",       "strike",   "friendship", "marriage", "occupation", "expedition",
                                  "construction", "epidemic", "boom",       "crisis",   "study",      "partnership"};

std::string two(uint64_t y) { return fmt::format("{:02}", y); }

// How a year is cut after a space: "17" + "43", or digit by digit.
enum class Digits { kPairs, kSingle };

Digits digits_of(const TaskSource& source) {
  const Tokenizer& tokenizer = need_tokenizer(source, "greater-than");
  const auto ids = tokenizer.encode("to the year 1743", {.add_bos = false, .add_eos = false});
  std::string cut;
  for (const int32_t id : ids) cut += (cut.empty() ? "\"" : " + \"") + tokenizer.token_text(id) + "\"";
  const auto ends_with = [&](size_t back, std::string_view text) {
    return ids.size() >= back && tokenizer.token_bytes(ids[ids.size() - back]).ends_with(text);
  };
  if (ends_with(1, "43") && ends_with(2, "17")) return Digits::kPairs;
  if (ends_with(1, "3") && tokenizer.token_bytes(ids.back()).size() == 1 && ends_with(2, "4") && ends_with(3, "7"))
    return Digits::kSingle;
  throw Error(ErrorKind::kUnsupported,
              "task greater-than: this model's tokenizer cuts a year as {}; it needs two tokens of two digits, or one a digit; "
              "choose another task",
              printable(cut, 120));
}

struct Year {
  uint64_t century, year;
};

std::optional<TaskExample> prompt_of(const TaskSource& source, const std::string& noun, const Year& y, Digits digits) {
  const auto sentence = [&](const std::string& yy) {
    return fill(kTemplate, {{"NOUN", {noun, ""}},
                            {"XX1", {std::to_string(y.century), ""}},
                            {"YY", {yy, ""}},
                            {"XX2", {std::to_string(y.century), ""}}});
  };
  const std::string yy = two(y.year);
  if (digits == Digits::kSingle) {
    auto e = make_pair(source, sentence(yy), sentence("0" + yy.substr(1)));
    if (!e) return {};
    e->example.positions["Y"] = e->example.positions["YY"] - 1;
    for (uint64_t d = 0; d <= 9; ++d) {
      const auto token = single_token(source, std::to_string(d));
      if (!token) return {};
      if (d > y.year / 10) e->example.answers.push_back(*token);
      if (d < y.year / 10) e->example.wrong.push_back(*token);
    }
    return e;
  }
  auto e = make_pair(source, sentence(yy), sentence("01"));
  if (!e) return {};
  for (uint64_t other = 0; other <= 99; ++other)
    if (const auto token = single_token(source, two(other)))
      (other > y.year ? e->example.answers : e->example.wrong).push_back(*token);
  return e;
}

}  // namespace

std::vector<TaskExample> make_greater_than(const TaskSource& source, int64_t n, uint64_t seed) {
  const Digits digits = digits_of(source);
  const std::vector<std::string> nouns = single_words(source, kNouns, 4, "greater-than");
  const Philox rng(seed, "task.greater-than");
  std::vector<TaskExample> out;
  for (uint64_t i = 0; std::ssize(out) < n; ++i) {
    // A century that the tokenizer cuts off by itself; in pairs YY is 02 .. 98, by digits its first is 1 .. 8.
    const Year y{11 + rng.below(7, i, 0), digits == Digits::kPairs ? 2 + rng.below(97, i, 1) : 10 + rng.below(80, i, 1)};
    auto e = prompt_of(source, nouns[rng.below(nouns.size(), i, 2)], y, digits);
    if (!e || e->example.answers.empty() || e->example.wrong.empty()) {
      if (i < 1000 + 100 * static_cast<uint64_t>(n)) continue;
      throw Error(ErrorKind::kUnsupported,
                  "task greater-than: this model's tokenizer cuts no years of one century alike; choose another task");
    }
    e->group = kTemplate;
    out.push_back(std::move(*e));
  }
  return out;
}

}  // namespace microtome
