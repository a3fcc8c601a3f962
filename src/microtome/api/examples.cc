#include "microtome/api/examples.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace microtome::api {
namespace {

constexpr size_t kMostPairs = 100'000;
constexpr int64_t kMostPrompts = 10'000;

std::vector<int32_t> ids_from(const Json& list, const std::string& what) {
  std::vector<int32_t> ids;
  for (const Json& e : list) {
    const double x = e.is_number() ? e.get<double>() : NAN;
    if (!(x >= 0 && x <= 2147483647.0) || x != std::floor(x))
      throw Error(ErrorKind::kInvalidArgument, "{} holds something that is not a token id; give a text, or a list of ids", what);
    ids.push_back(static_cast<int32_t>(x));
  }
  return ids;
}

TextOrIds text_or_ids(const Json& json, const std::string& what) {
  if (json.is_string()) return {.text = json.get<std::string>()};
  if (json.is_array()) return {.ids = ids_from(json, what)};
  if (json.is_number()) return {.ids = ids_from(Json::array({json}), what)};
  throw Error(ErrorKind::kInvalidArgument, "{} is neither a text nor a list of token ids", what);
}

// One answer, or (a list of texts or of lists) several.
std::vector<TextOrIds> answers_from(const Json& json, const std::string& what) {
  if (!json.is_array() || json.empty() || json[0].is_number()) return {text_or_ids(json, what)};
  std::vector<TextOrIds> out;
  for (const Json& e : json) out.push_back(text_or_ids(e, what));
  return out;
}

std::string pieces_of(const Model& model, const std::vector<int32_t>& ids) {
  std::string out;
  for (const int32_t id : ids) out += (out.empty() ? "\"" : " \"") + token_text(model, id) + "\"";
  return printable(out, 300);
}

class PairReader {
 public:
  PairReader(const Context& context, const ExamplesOptions& options) : context_(context), options_(options) {}

  void add(const PairOptions& pair, const std::string& where, ExampleSet& set) const {
    Example e;
    e.clean = prompt(pair.clean, where + "clean");
    e.corrupted = prompt(pair.corrupted, where + "corrupted");
    check_lengths(e, where);
    for (const TextOrIds& a : pair.answers) e.answers.push_back(answer(a, pair.clean, where + "answer", set));
    for (const TextOrIds& a : pair.wrong) e.wrong.push_back(answer(a, pair.clean, where + "wrong", set));
    for (const int32_t a : e.answers)
      for (const int32_t w : e.wrong)
        if (a == w)
          throw FieldError("wrong", fmt::format("{}wrong: {} is the answer too; the metric would always be 0", where,
                                                pieces_of(*context_.model, {w})));
    e.positions = pair.positions;
    e.positions.emplace("END", static_cast<int>(e.length()) - 1);
    try {
      check_example(e, context_.model->config());
    } catch (const Error& error) {
      throw FieldError("pairs", where + error.what());
    }
    set.clean.push_back(shown(pair.clean));
    set.corrupted.push_back(shown(pair.corrupted));
    set.groups.emplace_back();
    set.examples.push_back(std::move(e));
  }

 private:
  std::vector<int32_t> prompt(const TextOrIds& p, const std::string& where) const {
    InputOptions input{.bos = options_.bos};
    if (!p.ids && !context_.model->tokenizer())
      throw FieldError("pairs",
                       fmt::format("{} is a text, and this model has no tokenizer; give lists of token ids, in a file of "
                                   "pairs (--pairs): {{\"clean\": [5, 17], \"corrupted\": [5, 9], \"answer\": 3}}",
                                   where));
    if (p.ids) input.tokens = {*p.ids};
    else input.prompt = p.text;
    try {
      return encode_input(context_, input)[0];
    } catch (const Error& error) {
      throw FieldError("pairs", fmt::format("{}: {}", where, error.what()));
    }
  }

  int32_t answer(const TextOrIds& a, const TextOrIds& clean, const std::string& where, ExampleSet& set) const {
    const Model& model = *context_.model;
    std::vector<int32_t> ids;
    if (a.ids) ids = *a.ids;
    else if (a.text.size() > 1 && a.text[0] == '#' && a.text.find_first_not_of("0123456789", 1) == std::string::npos)
      ids = {find_token(model, a.text)};
    else if (!model.tokenizer())
      throw FieldError("answer", fmt::format("{}: \"{}\" is a text, and this model has no tokenizer; give a token as #id", where,
                                             printable(a.text)));
    else if (const auto whole = model.need_tokenizer().find(a.text)) ids = {*whole};
    else ids = model.need_tokenizer().encode(a.text, {.specials = false, .add_bos = false, .add_eos = false});
    if (ids.empty()) throw FieldError("answer", fmt::format("{} is empty; give one token", where));
    if (ids.size() > 1 && a.ids && !options_.first_token)
      throw FieldError("answer",
                       fmt::format("{}: the list of ids holds {} tokens, expected one; several answers are a list of lists, "
                                   "or give --first-token to score it by its first",
                                   where, ids.size()));
    if (ids.size() > 1 && !options_.first_token)
      throw FieldError("answer", fmt::format("{}: \"{}\" is not one token but {} ({}); choose another word, or --first-token to "
                                             "score it by its first",
                                             where, printable(a.text), ids.size(), pieces_of(model, ids)));
    if (!a.ids && !clean.ids && !a.text.empty() && std::isalpha(static_cast<unsigned char>(a.text[0])) && !clean.text.empty() &&
        std::isalnum(static_cast<unsigned char>(clean.text.back())) && set.warnings.size() < 10)
      set.warnings.push_back(
          fmt::format("{}: \"{}\" has no space before it, though the prompt ends in a word; did you mean \" {}\"?", where,
                      printable(a.text), printable(a.text)));
    return ids[0];
  }

  void check_lengths(const Example& e, const std::string& where) const {
    if (e.clean.size() == e.corrupted.size()) return;
    throw FieldError("corrupted",
                     fmt::format("{}the clean prompt has {} tokens and the corrupted one {}; patching needs equally many: choose "
                                 "words of as many tokens. clean: {}; corrupted: {}",
                                 where, e.clean.size(), e.corrupted.size(), pieces_of(*context_.model, e.clean),
                                 pieces_of(*context_.model, e.corrupted)));
  }

  std::string shown(const TextOrIds& p) const {
    if (!p.ids) return p.text;
    const Tokenizer* tokenizer = context_.model->tokenizer();
    if (tokenizer && std::all_of(p.ids->begin(), p.ids->end(), [&](int32_t id) { return id < tokenizer->vocab_size(); }))
      return tokenizer->decode(*p.ids);
    std::string out;
    for (const int32_t id : *p.ids) out += (out.empty() ? "#" : " #") + std::to_string(id);
    return out;
  }

  const Context& context_;
  const ExamplesOptions& options_;
};

ExampleSet of_task(const Context& context, const ExamplesOptions& options) {
  const Task& task = find_task(*options.task);
  if (options.n < 0 || options.n > kMostPrompts)
    throw FieldError("n", fmt::format("n is {}, expected 1 to {} prompts", options.n, kMostPrompts));
  const Model& model = *context.model;
  const int64_t n = options.n == 0 ? task.default_n : options.n;
  ExampleSet set{.task = std::string(task.name), .metric = task.metric};
  for (TaskExample& e : task.make({model.config(), model.tokenizer(), options.bos}, n, options.seed)) {
    check_example(e.example, model.config());
    set.clean.push_back(std::move(e.clean));
    set.corrupted.push_back(std::move(e.corrupted));
    set.groups.push_back(std::move(e.group));
    if (!e.control.empty()) set.controls.push_back(std::move(e.control));
    set.examples.push_back(std::move(e.example));
  }
  if (set.controls.size() != set.examples.size()) set.controls.clear();
  return set;
}

}  // namespace

ExampleSet read_examples(const Context& context, const ExamplesOptions& options) {
  if (options.task && !options.pairs.empty())
    throw FieldError("task", "both a task and prompts of your own; give one of task, pairs, or clean and corrupted");
  if (options.task) return of_task(context, options);
  if (options.pairs.empty())
    throw FieldError("task",
                     "no prompts: give --clean, --corrupted, --answer and --wrong, a file of such pairs (--pairs), or --task "
                     "(`microtome tasks` lists them)");
  ExampleSet set{.task = "pairs"};
  const PairReader reader(context, options);
  for (size_t i = 0; i < options.pairs.size(); ++i)
    reader.add(options.pairs[i], options.where.empty() ? "" : fmt::format("{}, pair {}: ", options.where, i + 1), set);
  return set;
}

std::vector<std::string> failure_warnings(const ExampleSet& set, const TaskScore& score) {
  std::vector<std::string> out;
  if (!score.ok)
    out.push_back(
        fmt::format("the model is right on {:.0f} % of these prompts, where guessing gives {:.0f} %: what is found here "
                    "may not be how it does the task, for it does not do it; try a larger model or another task",
                    100 * score.accuracy, 100 * score.chance));
  if (!score.corrupted.empty() &&
      std::abs(score.mean_clean - score.mean_corrupted) < 1e-3 * std::max(1.0, std::abs(score.mean_clean)))
    out.push_back(
        fmt::format("the metric is {:.4g} on the clean prompts and {:.4g} on the corrupted ones: there is next to no "
                    "difference to explain; change what is corrupted",
                    score.mean_clean, score.mean_corrupted));
  (void)set;
  return out;
}

PairOptions pair_from_json(const Json& json, const std::string& where) {
  if (!json.is_object())
    throw Error(ErrorKind::kInvalidArgument, "{} is not an object {{clean, corrupted, answer, wrong}}", where);
  PairOptions pair;
  for (const char* side : {"clean", "corrupted"})
    if (!json.contains(side)) throw Error(ErrorKind::kInvalidArgument, "{} lacks \"{}\"", where, side);
  for (const auto& [key, value] : json.items()) {
    const std::string what = fmt::format("{}: \"{}\"", where, printable(key));
    if (key == "clean") pair.clean = text_or_ids(value, what);
    else if (key == "corrupted") pair.corrupted = text_or_ids(value, what);
    else if (key == "answer" && !value.is_null()) pair.answers = answers_from(value, what);
    else if (key == "wrong" && !value.is_null()) pair.wrong = answers_from(value, what);
    else if (key == "positions") {
      if (!value.is_object()) throw Error(ErrorKind::kInvalidArgument, "{} is not an object of numbers", what);
      for (const auto& [role, position] : value.items()) {
        if (!position.is_number_integer() || position < -1000000 || position > 1000000)
          throw Error(ErrorKind::kInvalidArgument, "{}: role \"{}\" is not a token's place", what, printable(role));
        pair.positions[role] = position.get<int>();
      }
    }
  }
  return pair;
}

std::vector<PairOptions> pairs_from_lines(std::string_view text, const std::string& where) {
  std::vector<PairOptions> out;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = fmt::format("{}, line {}", where, number);
    out.push_back(pair_from_json(parse_json(line, place), place));
    if (out.size() > kMostPairs) throw Error(ErrorKind::kInvalidArgument, "{} holds more than {} pairs", where, kMostPairs);
  }
  if (out.empty())
    throw Error(ErrorKind::kInvalidArgument, "{} holds no pairs; give one JSON object {{clean, corrupted, answer, wrong}} a line",
                where);
  return out;
}

ExamplesOptions examples_options(Fields& f) {
  ExamplesOptions o;
  Json one = Json::object();
  for (const char* name : {"clean", "corrupted", "answer", "wrong"})
    if (const Json* v = f.find(name)) one[name] = *v;
  const Json* pairs = f.find("pairs");
  if (!one.empty()) {
    if (pairs) throw FieldError("pairs", "both \"pairs\" and \"clean\" or its companions; give one of them");
    for (const char* side : {"clean", "corrupted"})
      if (!one.contains(side)) throw FieldError(side, fmt::format("\"{}\" is missing; a pair needs clean and corrupted", side));
    o.pairs.push_back(pair_from_json(one, "the request"));
  }
  if (pairs) {
    if (!pairs->is_array() || pairs->empty())
      throw FieldError("pairs", "\"pairs\" is not a list of objects {clean, corrupted, answer, wrong}");
    if (pairs->size() > kMostPairs) throw FieldError("pairs", fmt::format("\"pairs\" holds more than {} pairs", kMostPairs));
    o.where = "\"pairs\"";
    for (size_t i = 0; i < pairs->size(); ++i)
      o.pairs.push_back(pair_from_json((*pairs)[i], fmt::format("\"pairs\", pair {}", i + 1)));
  }
  o.task = f.text("task");
  o.n = f.integer("n", 1, kMostPrompts).value_or(0);
  o.seed = static_cast<uint64_t>(f.integer("seed", 0, int64_t{1} << 53).value_or(0));
  o.first_token = f.boolean("first-token").value_or(false);
  o.bos = f.boolean("bos");
  return o;
}

}  // namespace microtome::api
