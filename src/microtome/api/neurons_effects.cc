// What changes of neurons do: the fact itself, held-out paraphrases, control facts, random neurons, a text.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "microtome/api/neurons.h"
#include "microtome/base/rng.h"

namespace microtome::api {
namespace {

// Written for this purpose: plain prose that no fact of a usual file is asked in.
constexpr const char* kText =
    "The kettle had been on the stove for some time before anyone noticed that the water was gone. My sister, who was reading by "
    "the window, looked up, closed her book and said that she would fill it again if somebody else would find the cups. Nobody "
    "moved. Outside the rain had stopped, and a thin yellow light lay over the garden, over the wet bench and the bicycle that "
    "leaned against the wall. We had meant to leave in the morning, while the roads were still empty, but one thing after "
    "another "
    "had kept us: a lost key, a long telephone call, a quarrel about which of the two maps was the better one. Now it was late "
    "in "
    "the afternoon and the bags stood in the hall as they had stood since breakfast. \"If we go now,\" my brother said, \"we "
    "will "
    "arrive in the dark, and the last part of the way is not easy to find.\" He was right, and we all knew it. So we stayed one "
    "more night, made soup from what was left in the kitchen, and played cards until the fire went out. When I think of that "
    "house today, I do not remember the rooms very well, nor the view that everybody praised. I remember the sound of the rain "
    "in the gutters, and how quiet it was when it ended.";

struct Mean {
  double sum = 0;
  int64_t n = 0;
  void add(double x) {
    sum += x;
    ++n;
  }
  Json json() const { return n ? Json(sum / static_cast<double>(n)) : Json(); }
};

// Sums of probabilities before and after; relative change of the sums.
struct Moved {
  double before = 0, after = 0, moved = 0;
  int n = 0;
  void add(double b, double a) {
    before += b;
    after += a;
    moved += std::abs(a - b);
    ++n;
  }
  Json change() const { return n && before > 0 ? Json((after - before) / before) : Json(); }
  Json both() const { return n ? Json{{"before", before / n}, {"after", after / n}} : Json(); }
};

// Which prompts of a bench are what.
struct Groups {
  std::vector<int> target, paraphrases, same_relation, unrelated;
};

class Effects {
 public:
  Effects(const Context& context, const NeuronsOptions& options, const std::vector<NeuronsFact>& facts)
      : context_(context), o_(options), facts_(facts), model_(*context.model) {
    if (o_.suppress) ops_.push_back(NeuronOp::kSuppress);
    if (o_.amplify) ops_.push_back(NeuronOp::kAmplify);
    if (o_.erase) ops_.push_back(NeuronOp::kErase);
    if (o_.rewrite) ops_.push_back(NeuronOp::kRewrite);
    read_text();
  }

  void run(Json& result) {
    result["perplexity"] = {{"before", nullptr}, {"after", nullptr}};
    result["locality"] = nullptr;
    result["operations"] = Json::array();
    const double before = std::exp(text_losses(model_, text_, std::array<const NeuronChange*, 1>{nullptr})[0]);
    result["perplexity"]["before"] = before;
    result["perplexity"]["tokens"] = text_.size();
    totals_.resize(ops_.size());
    if (ops_.empty()) return;
    if (context_.progress) context_.progress->begin("changing neurons (facts)", static_cast<double>(facts_.size()));
    for (size_t f = 0; f < facts_.size(); ++f) {
      Json& object = result["facts"][f];
      if (!facts_[f].neurons.empty()) {
        object["effects"] = effects_of(f);
        object["effect"] = object["effects"][neuron_op_name(ops_[0])];
      }
      if (context_.progress) context_.progress->step();
    }
    if (context_.progress) context_.progress->end();
    for (size_t k = 0; k < ops_.size(); ++k) result["operations"].push_back(totals_[k].json(ops_[k], before));
    result["perplexity"]["after"] = result["operations"][0]["perplexity"]["after"];
    result["locality"] = result["operations"][0]["locality"];
  }

 private:
  // Over all facts that have neurons; perplexity is that of the mean loss.
  struct Totals {
    Mean target, paraphrases, controls, random, most_active, locality, loss, flipped, paraphrases_flipped;
    double worst = 0;  // perplexity
    int beyond_random = 0, facts = 0;
    Json json(NeuronOp op, double perplexity_before) const {
      Json out{{"operation", neuron_op_name(op)},
               {"facts", facts},
               {"target", target.json()},
               {"paraphrases", paraphrases.json()},
               {"controls", controls.json()},
               {"random", random.json()},
               {"most_active", most_active.json()},
               {"beyond_random", beyond_random},
               {"locality", locality.json()},
               {"perplexity",
                {{"before", perplexity_before},
                 {"after", loss.n ? Json(std::exp(loss.sum / static_cast<double>(loss.n))) : Json()},
                 {"worst", loss.n ? Json(worst) : Json()}}}};
      if (op == NeuronOp::kRewrite) {
        out["flipped"] = flipped.json();
        out["paraphrases_flipped"] = paraphrases_flipped.json();
      }
      return out;
    }
  };

  void read_text() {
    if (model_.tokenizer()) {
      text_ = model_.tokenizer()->encode(o_.text.value_or(kText), {.specials = false});
      if (o_.text && text_.size() < 2) throw FieldError("text", "the text has fewer than two tokens: there is nothing to score");
    } else if (o_.text) {
      model_.need_tokenizer();
    } else {
      for (const NeuronsFact& f : facts_)
        for (const FactPrompt& p : f.fact.prompts) text_.insert(text_.end(), p.ids.begin(), p.ids.end());
      if (text_.size() < 2) text_.push_back(facts_[0].fact.prompts[0].answer[0]);
    }
    const auto most = static_cast<size_t>(std::min(o_.text_tokens, model_.config().context));
    if (text_.size() > most) text_.resize(most);
  }

  // Up to `controls` of the facts, chosen by seed.
  std::vector<size_t> chosen(size_t fact, bool same_relation) const {
    std::vector<size_t> pool;
    for (size_t g = 0; g < facts_.size(); ++g)
      if (facts_[g].fact.answer != facts_[fact].fact.answer &&
          (facts_[g].fact.relation == facts_[fact].fact.relation) == same_relation)
        pool.push_back(g);
    const Philox rng(o_.seed, fmt::format("neurons controls {} {}", facts_[fact].fact.id, same_relation));
    const size_t n = std::min(pool.size(), static_cast<size_t>(o_.controls));
    for (size_t i = 0; i < n; ++i) std::swap(pool[i], pool[i + rng.below(pool.size() - i, i)]);
    pool.resize(n);
    return pool;
  }

  NeuronChange change_of(NeuronOp op, size_t f, const std::vector<FoundNeuron>& neurons) const {
    NeuronChange c{.op = op, .neurons = {}, .deltas = {}};
    std::vector<double> activations;
    for (const FoundNeuron& n : neurons) {
      c.neurons.push_back(n.neuron);
      activations.push_back(n.activation);
    }
    if (op != NeuronOp::kRewrite) return c;
    const FactPrompt& p = facts_[f].fact.prompts[0];
    return rewrite_change(model_, c.neurons, activations, p.answer[0], p.new_answer[0], o_.from, o_.to);
  }

  // A rewrite needs the signs of their activations, so that it writes in the same direction there.
  std::vector<NeuronChange> random_changes(NeuronOp op, size_t f) const {
    std::vector<NeuronRef> own, all;
    for (const FoundNeuron& n : facts_[f].neurons) own.push_back(n.neuron);
    std::vector<std::vector<NeuronRef>> draws;
    for (int draw = 0; draw < o_.draws; ++draw) {
      draws.push_back(random_neurons(own, model_.config().d_mlp, o_.seed, "neurons random " + facts_[f].fact.id, draw));
      all.insert(all.end(), draws.back().begin(), draws.back().end());
    }
    std::vector<double> activations(all.size());
    if (op == NeuronOp::kRewrite) activations = mean_activations(model_, facts_[f].fact.prompts, all);
    std::vector<NeuronChange> out;
    size_t at = 0;
    for (const auto& refs : draws) {
      std::vector<FoundNeuron> drawn;
      for (const NeuronRef& n : refs) drawn.push_back({.neuron = n, .activation = activations[at++]});
      out.push_back(change_of(op, f, drawn));
    }
    return out;
  }

  Json effects_of(size_t f) {
    std::vector<FactPrompt> prompts;
    Groups groups;
    const auto add = [&](std::vector<int>& group, const FactPrompt& p) {
      group.push_back(static_cast<int>(prompts.size()));
      prompts.push_back(p);
    };
    for (const FactPrompt& p : facts_[f].fact.prompts) add(groups.target, p);
    for (const FactPrompt& p : facts_[f].fact.heldout) add(groups.paraphrases, p);
    for (const size_t g : chosen(f, true)) add(groups.same_relation, facts_[g].fact.prompts[0]);
    for (const size_t g : chosen(f, false)) add(groups.unrelated, facts_[g].fact.prompts[0]);

    std::vector<NeuronChange> own, active;
    std::vector<std::vector<NeuronChange>> random;
    std::vector<int> layers;
    for (const NeuronOp op : ops_) {
      own.push_back(change_of(op, f, facts_[f].neurons));
      active.push_back(change_of(op, f, facts_[f].most_active));
      random.push_back(random_changes(op, f));
      layers.push_back(own.back().first_layer());
      layers.push_back(active.back().first_layer());
      for (const NeuronChange& c : random.back()) layers.push_back(c.first_layer());
    }
    ChangeBench bench(model_, std::move(prompts), layers, context_.progress);
    Json out = Json::object();
    for (size_t k = 0; k < ops_.size(); ++k)
      out[neuron_op_name(ops_[k])] = effect_of(f, ops_[k], bench, groups, own[k], active[k], random[k], totals_[k]);
    return out;
  }

  Json effect_of(size_t f, NeuronOp op, ChangeBench& bench, const Groups& groups, const NeuronChange& own,
                 const NeuronChange& active, const std::vector<NeuronChange>& random, Totals& total) {
    std::vector<int> all(bench.unchanged().size());
    std::iota(all.begin(), all.end(), 0);
    const std::vector<FactOutcome> after = bench.run(std::array{&own}, all)[0];
    const auto moved = [&](const std::vector<int>& group, const std::vector<FactOutcome>& outcomes, bool whole) {
      Moved m;
      for (size_t i = 0; i < group.size(); ++i) m.add(bench.unchanged()[group[i]].answer, outcomes[whole ? group[i] : i].answer);
      return m;
    };
    const Moved target = moved(groups.target, after, true), paraphrases = moved(groups.paraphrases, after, true);
    const Moved same = moved(groups.same_relation, after, true), unrelated = moved(groups.unrelated, after, true);
    std::vector<int> control = groups.same_relation;
    control.insert(control.end(), groups.unrelated.begin(), groups.unrelated.end());
    const Moved controls = moved(control, after, true);

    std::vector<const NeuronChange*> others{&active};
    for (const NeuronChange& c : random) others.push_back(&c);
    const auto elsewhere = bench.run(others, groups.target);
    const Moved most_active = moved(groups.target, elsewhere[0], false);
    Mean mean, square, random_flipped;
    int as_strong = 0;
    const double change = target.before > 0 ? (target.after - target.before) / target.before : 0;
    for (size_t i = 1; i < elsewhere.size(); ++i) {
      const Moved m = moved(groups.target, elsewhere[i], false);
      const double x = m.before > 0 ? (m.after - m.before) / m.before : 0;
      mean.add(x);
      square.add(x * x);
      as_strong += std::abs(x) >= std::abs(change);
      random_flipped.add(flipped(f, groups.target, elsewhere[i], false));
    }
    const double mu = mean.n ? mean.sum / static_cast<double>(mean.n) : 0;
    const double sd =
        mean.n > 1
            ? std::sqrt(std::max(0.0, (square.sum - static_cast<double>(mean.n) * mu * mu) / static_cast<double>(mean.n - 1)))
            : 0;
    Mean kept;
    for (const int i : control) kept.add(after[i].top == bench.unchanged()[i].top);
    const double loss = text_losses(model_, text_, std::array{&own})[0], perplexity = std::exp(loss);

    Json out{{"target", target.change()},
             {"paraphrases", paraphrases.change()},
             {"controls", controls.change()},
             {"random", mean.json()},
             {"random_sd", mean.n > 1 ? Json(sd) : Json()},
             {"random_as_strong", as_strong},
             {"same_relation", same.change()},
             {"unrelated", unrelated.change()},
             {"most_active", own.neurons.empty() ? Json() : most_active.change()},
             {"probability", {{"target", target.both()}, {"paraphrases", paraphrases.both()}, {"controls", controls.both()}}},
             {"locality", kept.json()},
             {"perplexity", perplexity}};
    ++total.facts;
    const auto take = [](Mean& to, const Json& x) {
      if (x.is_number()) to.add(x.get<double>());
    };
    take(total.target, out["target"]);
    take(total.paraphrases, out["paraphrases"]);
    take(total.controls, out["controls"]);
    take(total.random, out["random"]);
    take(total.most_active, out["most_active"]);
    take(total.locality, out["locality"]);
    total.loss.add(loss);
    total.worst = std::max(total.worst, perplexity);
    total.beyond_random += mean.n > 0 && as_strong == 0;
    if (op == NeuronOp::kRewrite) {
      out["flipped"] = flipped(f, groups.target, after, true);
      out["paraphrases_flipped"] = groups.paraphrases.empty() ? Json() : Json(flipped(f, groups.paraphrases, after, true));
      out["random_flipped"] = random_flipped.json();
      out["new_answer"] = new_answer(groups, bench.unchanged(), after);
      take(total.flipped, out["flipped"]);
      take(total.paraphrases_flipped, out["paraphrases_flipped"]);
    }
    return out;
  }

  // Share of prompts whose most probable token is the new answer's first.
  double flipped(size_t f, const std::vector<int>& group, const std::vector<FactOutcome>& outcomes, bool whole) const {
    const std::vector<int32_t>& wanted = facts_[f].fact.prompts[0].new_answer;
    if (wanted.empty() || group.empty()) return 0;
    double n = 0;
    for (size_t i = 0; i < group.size(); ++i) n += outcomes[whole ? group[i] : i].top == wanted[0];
    return n / static_cast<double>(group.size());
  }

  static Json new_answer(const Groups& groups, const std::vector<FactOutcome>& before, const std::vector<FactOutcome>& after) {
    Moved target, paraphrases;
    for (const int i : groups.target) target.add(before[i].new_answer, after[i].new_answer);
    for (const int i : groups.paraphrases) paraphrases.add(before[i].new_answer, after[i].new_answer);
    return {{"target", target.both()}, {"paraphrases", paraphrases.both()}};
  }

  const Context& context_;
  const NeuronsOptions& o_;
  const std::vector<NeuronsFact>& facts_;
  const Model& model_;
  std::vector<NeuronOp> ops_;
  std::vector<int32_t> text_;
  std::vector<Totals> totals_;
};

}  // namespace

void add_neuron_effects(const Context& context, const NeuronsOptions& options, const std::vector<NeuronsFact>& facts,
                        Json& result) {
  Effects(context, options, facts).run(result);
}

}  // namespace microtome::api
