// A country's capital. The corrupted side names another country of as many tokens, whose capital is the wrong answer.
#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/tasks/all.h"
#include "microtome/circuits/tasks/prompt.h"

namespace microtome {
namespace {

constexpr const char* kTemplates[] = {"The capital of{SUBJECT} is the city of",
                                      "The capital city of{SUBJECT} is",
                                      "The capital of{SUBJECT} is called",
                                      "{SUBJECT}'s capital city is",
                                      "{SUBJECT}'s capital is the city of",
                                      "The seat of government of{SUBJECT} is the city of",
                                      "The government of{SUBJECT} sits in the city of",
                                      "The parliament of{SUBJECT} meets in the city of",
                                      "Q: What is the capital of{SUBJECT}?\nA: The capital is",
                                      "If you travel to the capital of{SUBJECT}, you arrive in",
                                      "In{SUBJECT}, the national government is in the capital,",
                                      "Everyone knows that the capital of{SUBJECT} is",
                                      "The embassy in{SUBJECT} is in the capital,",
                                      "My teacher said that the capital of{SUBJECT} is"};

struct Country {
  const char *name, *capital;
};
constexpr Country kCountries[] = {
    {"Portugal", "Lisbon"},      {"Spain", "Madrid"},       {"France", "Paris"},       {"Germany", "Berlin"},
    {"Italy", "Rome"},           {"Austria", "Vienna"},     {"Hungary", "Budapest"},   {"Poland", "Warsaw"},
    {"Russia", "Moscow"},        {"Ukraine", "Kiev"},       {"Greece", "Athens"},      {"Turkey", "Ankara"},
    {"Egypt", "Cairo"},          {"Japan", "Tokyo"},        {"China", "Beijing"},      {"India", "Delhi"},
    {"Ireland", "Dublin"},       {"Scotland", "Edinburgh"}, {"England", "London"},     {"Wales", "Cardiff"},
    {"Norway", "Oslo"},          {"Sweden", "Stockholm"},   {"Denmark", "Copenhagen"}, {"Finland", "Helsinki"},
    {"Iceland", "Reykjavik"},    {"Belgium", "Brussels"},   {"Switzerland", "Bern"},   {"Romania", "Bucharest"},
    {"Bulgaria", "Sofia"},       {"Serbia", "Belgrade"},    {"Croatia", "Zagreb"},     {"Slovakia", "Bratislava"},
    {"Slovenia", "Ljubljana"},   {"Latvia", "Riga"},        {"Lithuania", "Vilnius"},  {"Estonia", "Tallinn"},
    {"Belarus", "Minsk"},        {"Georgia", "Tbilisi"},    {"Armenia", "Yerevan"},    {"Azerbaijan", "Baku"},
    {"Iran", "Tehran"},          {"Iraq", "Baghdad"},       {"Syria", "Damascus"},     {"Lebanon", "Beirut"},
    {"Jordan", "Amman"},         {"Qatar", "Doha"},         {"Yemen", "Sanaa"},        {"Oman", "Muscat"},
    {"Afghanistan", "Kabul"},    {"Pakistan", "Islamabad"}, {"Nepal", "Kathmandu"},    {"Bangladesh", "Dhaka"},
    {"Thailand", "Bangkok"},     {"Vietnam", "Hanoi"},      {"Indonesia", "Jakarta"},  {"Philippines", "Manila"},
    {"Mongolia", "Ulaanbaatar"}, {"Australia", "Canberra"}, {"Canada", "Ottawa"},      {"Cuba", "Havana"},
    {"Jamaica", "Kingston"},     {"Peru", "Lima"},          {"Chile", "Santiago"},     {"Venezuela", "Caracas"},
    {"Kenya", "Nairobi"},        {"Nigeria", "Abuja"},      {"Ghana", "Accra"},        {"Libya", "Tripoli"},
    {"Tunisia", "Tunis"},        {"Zimbabwe", "Harare"}};

struct Known {
  std::string name, capital;
  size_t tokens;  // of the name
};

}  // namespace

std::vector<TaskExample> make_capital_of(const TaskSource& source, int64_t n, uint64_t seed) {
  const Tokenizer& tokenizer = need_tokenizer(source, "capital-of");
  std::vector<const char*> capitals;
  for (const Country& c : kCountries) capitals.push_back(c.capital);
  single_words(source, capitals, 8, "capital-of");
  std::vector<Known> known;
  for (const Country& c : kCountries)
    if (single_token(source, std::string(" ") + c.capital))
      known.push_back({std::string(" ") + c.name, std::string(" ") + c.capital,
                       tokenizer.encode(std::string(" ") + c.name, {.add_bos = false, .add_eos = false}).size()});
  const Philox rng(seed, "task.capital-of");
  std::vector<TaskExample> out;
  for (uint64_t i = 0; std::ssize(out) < n; ++i) {
    if (i > 1000 + 100 * static_cast<uint64_t>(n))
      throw Error(ErrorKind::kUnsupported,
                  "task capital-of: this model's tokenizer cuts no two countries into as many tokens; choose another task");
    const size_t which = i % std::size(kTemplates);
    const Known& a = known[rng.below(known.size(), i, 0)];
    const Known& b = known[rng.below(known.size(), i, 1)];
    if (a.capital == b.capital || a.tokens != b.tokens) continue;
    // A name that begins the sentence has no space before it.
    const bool first = std::string_view(kTemplates[which]).starts_with("{");
    const auto sentence = [&](const Known& c) {
      return fill(kTemplates[which], {{"SUBJECT", {c.name.substr(first ? 1 : 0), ""}}});
    };
    auto e = make_pair(source, sentence(a), sentence(b));
    if (!e) continue;
    e->example.answers = {*single_token(source, a.capital)};
    e->example.wrong = {*single_token(source, b.capital)};
    e->group = kTemplates[which];
    out.push_back(std::move(*e));
  }
  return out;
}

}  // namespace microtome
