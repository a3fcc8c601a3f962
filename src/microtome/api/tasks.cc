#include "microtome/api/tasks.h"

#include <nlohmann/json.hpp>

#include "microtome/api/examples.h"

namespace microtome::api {
namespace {

Json answers_json(const Model& model, const std::vector<int32_t>& ids) {
  const Tokenizer* tokenizer = model.tokenizer();
  Json out = Json::array();
  for (const int32_t id : ids) {
    const std::string text = tokenizer ? tokenizer->decode(std::array{id}) : "";
    // Bytes that do not come back as the same token are written as its id.
    const bool same = tokenizer && tokenizer->find(text) == id && text == tokenizer->token_text(id);
    out.push_back(same ? Json(text) : Json("#" + std::to_string(id)));
  }
  return out.size() == 1 ? out[0] : out;
}

Json show(const Context& context, const ExampleSet& set) {
  const Model& model = *context.model;
  Json prompts = Json::array();
  for (size_t i = 0; i < set.examples.size(); ++i) {
    const Example& e = set.examples[i];
    Json positions = Json::object();
    for (const auto& [role, position] : e.positions) positions[role] = position;
    prompts.push_back({{"clean", set.clean[i].empty() ? Json(e.clean) : Json(set.clean[i])},
                       {"corrupted", set.corrupted[i].empty() ? Json(e.corrupted) : Json(set.corrupted[i])},
                       {"answer", answers_json(model, e.answers)},
                       {"wrong", answers_json(model, e.wrong)},
                       {"positions", std::move(positions)}});
  }
  return {{"model", context.name}, {"prompts", std::move(prompts)}};
}

Json score(const Context& context, const Task& task, const TasksOptions& options) {
  Json out{{"name", task.name},
           {"n", options.n == 0 ? task.default_n : options.n},
           {"metric", metric_name(task.metric)},
           {"clean", nullptr},
           {"corrupted", nullptr},
           {"accuracy", nullptr},
           {"ok", false},
           {"chance", nullptr},
           {"summary", task.summary}};
  try {
    const ExampleSet set =
        read_examples(context, {.task = std::string(task.name), .n = options.n, .seed = options.seed, .bos = options.bos});
    const TaskScore s = score_examples(*context.model, set.examples, Metric(task.metric), context.progress);
    out["clean"] = s.mean_clean;
    out["corrupted"] = s.mean_corrupted;
    out["accuracy"] = s.accuracy;
    out["ok"] = s.ok;
    out["chance"] = s.chance;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported && error.kind() != ErrorKind::kInvalidArgument) throw;
    out["reason"] = error.what();
  }
  return out;
}

}  // namespace

TasksOptions tasks_options(const Json& request) {
  Fields f(request);
  TasksOptions o;
  o.show = f.text("show");
  o.n = f.integer("n", 1, 10'000).value_or(0);
  o.seed = static_cast<uint64_t>(f.integer("seed", 0, int64_t{1} << 53).value_or(0));
  o.bos = f.boolean("bos");
  f.finish();
  return o;
}

Json tasks(const Context& context, const TasksOptions& options) {
  if (options.show)
    return show(context,
                read_examples(context, {.task = options.show, .n = options.n, .seed = options.seed, .bos = options.bos}));
  Json list = Json::array();
  for (const Task& task : microtome::tasks()) list.push_back(score(context, task, options));
  return {{"model", context.name}, {"tasks", std::move(list)}};
}

}  // namespace microtome::api
