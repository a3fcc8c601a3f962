#include "microtome/api/neurons.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "microtome/formats/sha256.h"

namespace microtome::api {
namespace {

// --- finding -----------------------------------------------------------------------------------------------------------------

Json neuron_json(const FoundNeuron& n) {
  return {{"layer", n.neuron.layer},
          {"index", n.neuron.index},
          {"score", n.score},
          {"activation", n.activation},
          {"prompts", n.prompts}};
}

Json neurons_json(const std::vector<FoundNeuron>& list) {
  Json out = Json::array();
  for (const FoundNeuron& n : list) out.push_back(neuron_json(n));
  return out;
}

// What a finding depends on: the model (its shape, and the last layer's weights), the tokens, the settings.
std::string finding_key(const Context& context, const Fact& fact, const NeuronsOptions& o) {
  Json key{context.name,
           context.model->parameter_count(),
           static_cast<int>(context.model->compute_mode()),
           std::string(quadrature_name(o.rule)),
           o.steps,
           o.most_steps,
           o.threshold,
           o.share};
  for (const FactPrompt& p : fact.prompts) key.push_back({p.ids, p.answer});
  const std::string text = dump_json(key);
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  if (context.model->config().has_mlp()) {
    const PackedView& w = context.model->weights().layers.back().w_out.view;
    hash.update({w.data, static_cast<size_t>(packed_bytes(w.format, w.k, w.n))});
  }
  return hash.hex().substr(0, 32);
}

Json gaps_json(const std::vector<PromptAttribution>& prompts) {
  Json gaps = Json::array(), steps = Json::array();
  double worst = 0;
  int most = 0;
  for (const PromptAttribution& p : prompts) {
    Json gap = Json::array(), step = Json::array();
    for (const AttributionGap& g : p.gaps) {
      gap.push_back(g.gap);
      step.push_back(g.steps);
      worst = std::max(worst, g.gap);
      most = std::max(most, g.steps);
    }
    gaps.push_back(std::move(gap));
    steps.push_back(std::move(step));
  }
  return {{"worst", worst}, {"most_steps", most}, {"gap", std::move(gaps)}, {"steps", std::move(steps)}};
}

// One fact's line: {key, id, right, probability, neurons[], share, most_active[], ig{worst, most_steps, gap[prompt][layer],
// steps[prompt][layer]}, macs{plain, executed}}.
Json find_neurons(const Context& context, const NeuronsOptions& o, const Fact& fact, const std::string& key) {
  NeuronMacs macs;
  const auto prompts = attribute_neurons(*context.model, fact.prompts,
                                         {.rule = o.rule,
                                          .steps = static_cast<int>(o.steps),
                                          .most_steps = static_cast<int>(o.most_steps),
                                          .progress = context.progress},
                                         &macs);
  if (context.progress) context.progress->step(static_cast<double>(prompts.size()));
  const RefinedNeurons r = refine_neurons(prompts, {.threshold = o.threshold, .share = o.share});
  int right = 0;
  double probability = 0;
  for (const PromptAttribution& p : prompts) {
    right += p.right;
    probability += p.probability / static_cast<double>(prompts.size());
  }
  return {{"key", key},
          {"id", fact.id},
          {"right", right},
          {"probability", probability},
          {"neurons", neurons_json(r.neurons)},
          {"share", r.share},
          {"most_active", neurons_json(r.most_active)},
          {"ig", gaps_json(prompts)},
          {"macs", {{"plain", macs.plain}, {"executed", macs.executed}}}};
}

std::vector<Json> find_all(const Context& context, const NeuronsOptions& o, const std::vector<NeuronsFact>& facts) {
  std::vector<Json> out(facts.size());
  std::vector<std::string> keys;
  int64_t prompts = 0;
  for (size_t f = 0; f < facts.size(); ++f) {
    keys.push_back(finding_key(context, facts[f].fact, o));
    for (const Json& line : o.found)
      if (line.is_object() && line.value("key", Json()) == keys[f]) out[f] = line;
    if (out[f].is_null()) prompts += std::ssize(facts[f].fact.prompts);
  }
  if (context.progress && prompts > 0) context.progress->begin("finding neurons (prompts)", static_cast<double>(prompts));
  for (size_t f = 0; f < facts.size(); ++f) {
    if (!out[f].is_null()) continue;
    out[f] = find_neurons(context, o, facts[f].fact, keys[f]);
    if (o.on_found) o.on_found(out[f]);
  }
  if (context.progress) context.progress->end();
  return out;
}

// --- checking ----------------------------------------------------------------------------------------------------------------

// For each fact and prompt: is the answer what the model says next, and with what probability.
Json check_facts(const Context& context, const std::vector<NeuronsFact>& facts) {
  Json out = Json::array();
  if (context.progress) context.progress->begin("checking facts", static_cast<double>(facts.size()));
  for (const NeuronsFact& f : facts) {
    Json object{{"id", f.fact.id},    {"relation", f.fact.relation}, {"subject", f.subject},
                {"prompt", f.prompt}, {"answer", f.answer},          {"answer_tokens", f.fact.prompts[0].answer.size()}};
    for (const auto& [name, list] : {std::pair{"prompts", &f.fact.prompts}, std::pair{"heldout", &f.fact.heldout}}) {
      Json rows = Json::array();
      if (!list->empty()) {
        const ChangeBench bench(*context.model, *list, {}, context.progress);
        for (size_t i = 0; i < list->size(); ++i)
          rows.push_back({{"right", bench.unchanged()[i].right}, {"probability", bench.unchanged()[i].answer}});
      }
      object[name] = std::move(rows);
    }
    out.push_back(std::move(object));
    if (context.progress) context.progress->step();
  }
  if (context.progress) context.progress->end();
  return out;
}

Json hubs_json(const std::vector<HubNeuron>& hubs) {
  Json out = Json::array();
  for (const HubNeuron& h : hubs)
    out.push_back({{"layer", h.neuron.layer},
                   {"index", h.neuron.index},
                   {"facts", h.facts},
                   {"unrelated", h.unrelated},
                   {"same_relation", h.same_relation}});
  return out;
}

Json warnings_of(const std::vector<NeuronsFact>& facts) {
  Json out = Json::array();
  for (const NeuronsFact& f : facts) {
    const auto n = static_cast<int>(f.fact.prompts.size());
    const size_t tokens = f.fact.prompts[0].answer.size();
    if (2 * f.right < n)
      out.push_back(
          fmt::format("fact \"{}\": the model says \"{}\" after {} of {} prompts only; what is found is not a fact it knows",
                      f.fact.id, f.answer, f.right, n));
    if (n < 3)
      out.push_back(fmt::format("fact \"{}\" has {} prompts; neurons are kept that agree over at least 3", f.fact.id, n));
    if (tokens > 1)
      out.push_back(fmt::format("fact \"{}\": the answer has {} tokens; figures are means over them, behind the true ones before",
                                f.fact.id, tokens));
  }
  if (facts.size() < 2)
    out.push_back("one fact alone: there is nothing to tell its neurons from hubs by, and there are no control facts");
  return out;
}

}  // namespace

NeuronsOptions neurons_options(const Json& request) {
  Fields f(request);
  NeuronsOptions o;
  const Json* facts = f.find("facts");
  if (facts && !facts->is_array())
    throw FieldError("facts",
                     "\"facts\" is not a list of objects {id, relation, subject, answer, new_answer, prompts[], heldout[]}");
  if (facts) o.facts.assign(facts->begin(), facts->end());
  if (o.facts.size() > 1000) throw FieldError("facts", fmt::format("\"facts\" holds {} facts, at most 1000", o.facts.size()));
  o.bos = f.boolean("bos");
  for (const auto& [name, target] :
       {std::pair{"check", &o.check}, std::pair{"find", &o.find}, std::pair{"suppress", &o.suppress},
        std::pair{"amplify", &o.amplify}, std::pair{"erase", &o.erase}, std::pair{"rewrite", &o.rewrite}})
    *target = f.boolean(name).value_or(false);
  if (const auto rule = f.text("rule")) o.rule = parse_quadrature(*rule);
  o.steps = f.integer("steps", 1, 1024).value_or(o.steps);
  o.most_steps = f.integer("most-steps", 1, 1024).value_or(0);
  const auto unit = [&](const char* name, double& target) {
    target = f.number(name).value_or(target);
    if (!(target > 0 && target <= 1))
      throw FieldError(name, fmt::format("\"{}\" is {}, expected more than 0, at most 1", name, target));
  };
  unit("threshold", o.threshold);
  unit("share", o.share);
  o.from = f.number("from").value_or(o.from);
  o.to = f.number("to").value_or(o.to);
  o.controls = f.integer("controls", 0, 32).value_or(o.controls);
  o.draws = f.integer("draws", 0, 1000).value_or(o.draws);
  o.text = f.text("text");
  o.text_tokens = f.integer("text-tokens", 2, 1 << 20).value_or(o.text_tokens);
  o.seed = static_cast<uint64_t>(f.integer("seed", 0, int64_t{1} << 53).value_or(0));
  f.finish();
  return o;
}

namespace {

std::vector<NeuronsFact> read_facts(const Context& context, const NeuronsOptions& o) {
  std::vector<NeuronsFact> facts;
  std::set<std::string> ids;
  for (size_t i = 0; i < o.facts.size(); ++i) {
    facts.push_back(read_neurons_fact(context, o.bos, o.facts[i], i));
    const Fact& fact = facts.back().fact;
    const auto refuse = [&](const std::string& what) {
      throw FieldError("facts", fmt::format("fact \"{}\" {}", printable(fact.id), what));
    };
    if (!o.rewrite) continue;
    if (facts.back().new_answer.empty()) refuse("has no \"new_answer\", which a rewrite needs");
    for (const auto* list : {&fact.prompts, &fact.heldout})
      for (const FactPrompt& p : *list)
        if (p.answer == p.new_answer) refuse("has a \"new_answer\" that is its answer: there is nothing to rewrite");
    if (!ids.insert(fact.id).second) refuse("is there twice; a rewrite needs an id of its own for each");
  }
  return facts;
}

}  // namespace

Json neurons(const Context& context, const NeuronsOptions& given) {
  NeuronsOptions o = given;
  const auto start = std::chrono::steady_clock::now();
  if (!o.check && !o.find && !o.suppress && !o.amplify && !o.erase && !o.rewrite) o.suppress = true;
  if (o.facts.empty())
    throw FieldError("facts", "no facts: give objects {id, relation, subject, answer, new_answer, prompts[], heldout[]}");
  if (!context.model->config().has_mlp())
    throw FieldError("model", "this model has no MLPs, so no knowledge neurons; take another model");
  if (o.most_steps > 0 && o.most_steps < o.steps)
    throw FieldError("most-steps",
                     fmt::format("{} steps to begin with are more than the most, {}; doubling begins with steps and "
                                 "ends at most-steps",
                                 o.steps, o.most_steps));
  if (o.most_steps == 0) o.most_steps = std::max<int64_t>(128, o.steps);
  std::vector<NeuronsFact> facts;
  try {
    facts = read_facts(context, o);
  } catch (const Error& e) {
    if (o.facts_where.empty()) throw;
    throw Error(e.kind(), "{}: {}", o.facts_where, e.what());
  }
  if (o.check) return {{"model", context.name}, {"facts", check_facts(context, facts)}};

  const std::vector<Json> found = find_all(context, o, facts);
  std::vector<Fact> plain;
  std::vector<std::vector<FoundNeuron>> before;
  int64_t macs_plain = 0, macs_executed = 0;
  for (size_t f = 0; f < facts.size(); ++f) {
    plain.push_back(facts[f].fact);
    FoundLine line = read_found_line(
        found[f], context.model->config(),
        fmt::format("{}, fact \"{}\"", o.found_where.empty() ? "what was found" : o.found_where, printable(facts[f].fact.id)));
    before.push_back(std::move(line.neurons));
    facts[f].most_active = std::move(line.most_active);
    facts[f].right = line.right;
    macs_plain += line.macs_plain;
    macs_executed += line.macs_executed;
  }
  FilteredNeurons filtered = filter_hubs(plain, before, o.hub_share);

  Json list = Json::array();
  for (size_t f = 0; f < facts.size(); ++f) {
    NeuronsFact& fact = facts[f];
    fact.neurons = std::move(filtered.facts[f]);
    fact.most_active.resize(std::min(fact.most_active.size(), fact.neurons.size()));
    Json removed = Json::array();
    for (const FoundNeuron& n : before[f])
      if (std::none_of(fact.neurons.begin(), fact.neurons.end(), [&](const FoundNeuron& k) { return k.neuron == n.neuron; }))
        removed.push_back(neuron_json(n));
    list.push_back({{"id", fact.fact.id},
                    {"relation", fact.fact.relation},
                    {"subject", fact.subject},
                    {"prompt", fact.prompt},
                    {"answer", fact.answer},
                    {"new_answer", fact.new_answer.empty() ? Json() : Json(fact.new_answer)},
                    {"prompts", fact.fact.prompts.size()},
                    {"right", fact.right},
                    {"probability", found[f].at("probability")},
                    {"neurons", neurons_json(fact.neurons)},
                    {"hubs", std::move(removed)},
                    {"share", found[f].at("share")},
                    {"most_active", neurons_json(fact.most_active)},
                    {"ig", found[f].at("ig")},
                    {"effect", nullptr}});
  }
  Json result{{"model", context.name}, {"facts", std::move(list)}, {"hubs", hubs_json(filtered.hubs)}};
  add_neuron_effects(context, o, facts, result);
  result["macs"] = {{"plain", macs_plain}, {"executed", macs_executed}};
  result["settings"] = {{"rule", std::string(quadrature_name(o.rule))},
                        {"steps", o.steps},
                        {"most_steps", o.most_steps},
                        {"threshold", o.threshold},
                        {"share", o.share},
                        {"hub_share", o.hub_share},
                        {"controls", o.controls},
                        {"draws", o.draws},
                        {"from", o.from},
                        {"to", o.to},
                        {"seed", o.seed}};
  result["warnings"] = warnings_of(facts);
  result["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace microtome::api
