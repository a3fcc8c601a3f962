// Facts as users write them, to token ids.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "microtome/api/neurons.h"

namespace microtome::api {
namespace {

class FactReader {
 public:
  FactReader(const Context& context, std::optional<bool> bos) : context_(context), bos_(bos) {}

  NeuronsFact read(const Json& json, size_t number) {
    where_ = fmt::format("fact {}", number + 1);
    if (!json.is_object()) fail("is not an object {id, relation, subject, answer, new_answer, prompts[], heldout[]}");
    for (const auto& [name, value] : json.items())
      if (std::find(std::begin(kFields), std::end(kFields), name) == std::end(kFields))
        fail(fmt::format("has an unknown field \"{}\"; known are {}", printable(name), fmt::join(kFields, ", ")));
    NeuronsFact out;
    out.fact.id = text(json, "id", fmt::format("{}", number + 1));
    where_ = fmt::format("fact \"{}\"", printable(out.fact.id));
    out.fact.relation = text(json, "relation", "");
    out.subject = text(json, "subject", "");
    const Json answer = json.value("answer", Json()), new_answer = json.value("new_answer", Json());
    if (answer.is_null()) fail("has no \"answer\"");
    const auto prompts_of = [&](const char* name) {
      std::vector<FactPrompt> list;
      const Json prompts = json.value(name, Json());
      if (prompts.is_null()) return list;
      if (!prompts.is_array()) fail(fmt::format("\"{}\" is not a list", name));
      for (const Json& p : prompts) list.push_back(prompt(p, answer, new_answer));
      return list;
    };
    out.fact.prompts = prompts_of("prompts");
    out.fact.heldout = prompts_of("heldout");
    check_fact(out.fact, context_.model->config());
    check_size(out.fact);
    out.prompt = shown(json["prompts"][0]);
    out.answer = shown(answer);
    out.new_answer = new_answer.is_null() ? "" : shown(new_answer);
    out.fact.answer = out.answer;
    return out;
  }

 private:
  static constexpr const char* kFields[] = {"id", "relation", "subject", "answer", "new_answer", "prompts", "heldout"};

  [[noreturn]] void fail(const std::string& what) const { throw FieldError("facts", where_ + " " + what); }

  std::string text(const Json& json, const char* name, const std::string& fallback) const {
    const auto it = json.find(name);
    if (it == json.end() || it->is_null()) return fallback;
    if (it->is_number_integer()) return it->dump();
    if (!it->is_string()) fail(fmt::format("\"{}\" is not a text", name));
    return it->get<std::string>();
  }

  // A fact is asked in short sentences; all of its prompts are run together.
  void check_size(const Fact& fact) const {
    constexpr size_t kPrompts = 64, kTokens = 512;
    for (const auto* list : {&fact.prompts, &fact.heldout}) {
      if (list->size() > kPrompts) fail(fmt::format("has {} prompts, at most {}; leave some out", list->size(), kPrompts));
      for (const FactPrompt& p : *list)
        if (p.ids.size() + p.answer.size() > kTokens)
          fail(fmt::format("has a prompt that with its answer is {} tokens long, at most {}; shorten it",
                           p.ids.size() + p.answer.size(), kTokens));
    }
  }

  static std::string shown(const Json& v) { return v.is_string() ? v.get<std::string>() : v.dump(); }

  FactPrompt prompt(const Json& p, const Json& answer, const Json& new_answer) const {
    FactPrompt out;
    out.ids = p.is_string() ? encode_text(context_, p.get<std::string>(), bos_, false) : ids(p, "a prompt");
    const std::string before = p.is_string() ? p.get<std::string>() : "";
    out.answer = answer_ids(answer, before, "the answer");
    if (!new_answer.is_null()) out.new_answer = answer_ids(new_answer, before, "the new answer");
    return out;
  }

  std::vector<int32_t> answer_ids(const Json& answer, const std::string& prompt, const char* what) const {
    if (!answer.is_string()) return ids(answer, what);
    const auto text = answer.get<std::string>();
    const bool spaced = prompt.empty() || prompt.back() == ' ' || prompt.back() == '\n' || text.starts_with(' ');
    auto out = context_.model->need_tokenizer().encode(spaced ? text : " " + text,
                                                       {.specials = false, .add_bos = false, .add_eos = false});
    if (text.empty() || out.empty()) fail(fmt::format("{} is empty", what));
    return out;
  }

  std::vector<int32_t> ids(const Json& v, const char* what) const {
    const Json list = v.is_number_integer() ? Json::array({v}) : v;
    std::vector<int32_t> out;
    if (!list.is_array()) fail(fmt::format("{} is neither a text nor a list of token ids", what));
    for (const Json& e : list) {
      const double x = e.is_number_integer() ? e.get<double>() : -1;
      if (!(x >= 0 && x <= 2147483647.0)) fail(fmt::format("{} holds something that is not a token id", what));
      out.push_back(static_cast<int32_t>(x));
    }
    return out;
  }

  const Context& context_;
  std::optional<bool> bos_;
  std::string where_;
};

}  // namespace

NeuronsFact read_neurons_fact(const Context& context, std::optional<bool> bos, const Json& json, size_t number) {
  return FactReader(context, bos).read(json, number);
}

}  // namespace microtome::api
