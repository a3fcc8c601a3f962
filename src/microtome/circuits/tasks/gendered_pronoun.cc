// Gendered pronouns: "So Mary is a really great friend, isn't" -> " she". The corrupted side has a name of the other gender.
#include "microtome/base/error.h"
#include "microtome/circuits/tasks/all.h"
#include "microtome/circuits/tasks/prompt.h"

namespace microtome {
namespace {

constexpr const char* kTemplate = "So{NAME} is a really great friend, isn't";
constexpr const char* kMen[] = {"John",   "David",  "Mark",   "Paul",   "James", "Peter",  "Michael",
                                "Robert", "George", "Thomas", "Daniel", "Henry", "Edward", "Andrew",
                                "Joseph", "Steven", "Kevin",  "Brian",  "Jack",  "Tom"};
constexpr const char* kWomen[] = {"Mary",  "Anna",  "Sarah", "Lisa",  "Susan", "Emma",   "Jane",  "Alice", "Laura", "Julia",
                                  "Karen", "Emily", "Maria", "Linda", "Helen", "Rachel", "Nancy", "Kate",  "Lucy",  "Amy"};

}  // namespace

std::vector<TaskExample> make_gendered_pronoun(const TaskSource& source, int64_t n, uint64_t seed) {
  const std::vector<std::string> men = single_words(source, kMen, 2, "gendered-pronoun");
  const std::vector<std::string> women = single_words(source, kWomen, 2, "gendered-pronoun");
  constexpr const char* kPronouns[] = {"he", "she"};
  single_words(source, kPronouns, 2, "gendered-pronoun");
  const int32_t he = *single_token(source, " he"), she = *single_token(source, " she");
  std::vector<TaskExample> out;
  for (int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<size_t>(i / 2);
    const std::string& man = men[shuffled(men.size(), seed, "task.pronoun.men", k / men.size())[k % men.size()]];
    const std::string& woman = women[shuffled(women.size(), seed, "task.pronoun.women", k / women.size())[k % women.size()]];
    const bool male = i % 2 == 0;
    auto e = make_pair(source, fill(kTemplate, {{"NAME", {male ? man : woman, ""}}}),
                       fill(kTemplate, {{"NAME", {male ? woman : man, ""}}}));
    if (!e)
      throw Error(ErrorKind::kUnsupported, "task gendered-pronoun: this model's tokenizer does not cut \"{}\" and \"{}\" alike",
                  man, woman);
    e->example.answers = {male ? he : she};
    e->example.wrong = {male ? she : he};
    e->group = kTemplate;
    out.push_back(std::move(*e));
  }
  return out;
}

}  // namespace microtome
