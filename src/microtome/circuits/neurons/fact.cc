#include "microtome/circuits/neurons/fact.h"

#include "microtome/base/error.h"

namespace microtome {
namespace {

void check_ids(const Fact& fact, const std::vector<int32_t>& ids, const char* what, const Config& config) {
  for (const int32_t id : ids)
    if (id < 0 || id >= config.vocab)
      throw Error(ErrorKind::kInvalidArgument, "fact \"{}\": {}: token id {} is outside of the vocabulary of {}",
                  printable(fact.id), what, id, config.vocab);
}

}  // namespace

void check_fact(const Fact& fact, const Config& config) {
  if (fact.prompts.empty())
    throw Error(ErrorKind::kInvalidArgument, "fact \"{}\" has no prompts; give at least one", printable(fact.id));
  for (const auto* list : {&fact.prompts, &fact.heldout})
    for (const FactPrompt& p : *list) {
      if (p.ids.empty()) throw Error(ErrorKind::kInvalidArgument, "fact \"{}\" has an empty prompt", printable(fact.id));
      if (p.answer.empty()) throw Error(ErrorKind::kInvalidArgument, "fact \"{}\" has an empty answer", printable(fact.id));
      const auto length = static_cast<int64_t>(p.ids.size() + p.answer.size() - 1);
      if (length > config.context)
        throw Error(ErrorKind::kInvalidArgument, "fact \"{}\": a prompt and its answer have {} tokens, the model's context is {}",
                    printable(fact.id), length, config.context);
      check_ids(fact, p.ids, "prompt", config);
      check_ids(fact, p.answer, "answer", config);
      check_ids(fact, p.new_answer, "new answer", config);
    }
}

}  // namespace microtome
