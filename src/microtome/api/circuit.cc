#include "microtome/api/circuit.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "microtome/api/circuit_acdc.h"
#include "microtome/api/circuit_formats.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/graph/circuit_file.h"
#include "microtome/circuits/graph/edge_scores.h"
#include "microtome/circuits/graph/faithfulness.h"
#include "microtome/circuits/graph/patched_edges.h"
#include "microtome/circuits/graph/select.h"
#include "microtome/circuits/graph/select_ilp.h"
#include "microtome/formats/sha256.h"
#include "microtome/lens/model_hash.h"

namespace microtome::api {
namespace {

const char* compute_name(ComputeMode mode) {
  switch (mode) {
    case ComputeMode::kF32: return "f32";
    case ComputeMode::kBF16: return "bf16";
    case ComputeMode::kNative: return "native";
  }
  return "f32";
}

Json number(double x) { return std::isfinite(x) ? Json(x) : Json(); }

double mean_of(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(std::max<size_t>(1, x.size()));
}

// The prompts of a command, with what ablation and metric they are measured under.
struct Prompts {
  ExampleSet set;
  Metric metric{MetricKind::kLogitDiff};
  Ablation ablation;
  std::vector<std::string> warnings;
};

Prompts read_prompts(const Context& context, const ExamplesOptions& examples, const std::string& metric,
                     const std::string& ablation) {
  Prompts p{.set = read_examples(context, examples)};
  p.metric = Metric(metric.empty() ? p.set.metric : parse_metric(metric));
  p.ablation = {.kind = parse_ablation(ablation), .references = p.set.controls, .groups = p.set.groups};
  if (p.set.groups.size() != p.set.examples.size()) p.ablation.groups.clear();
  const TaskScore score = score_examples(*context.model, p.set.examples, p.metric, context.progress);
  p.warnings = p.set.warnings;
  for (std::string& w : failure_warnings(p.set, score)) p.warnings.push_back(std::move(w));
  return p;
}

// What scoring gave.
struct Found {
  std::vector<double> scores, node;
  std::vector<float> per_example;
  std::vector<double> gaps;
  std::vector<int64_t> ig_nodes;
  double gap = std::nan("");
};

// What exact effects depend on.
std::string state_key(const Context& context, const Graph& graph, const Prompts& prompts, const std::string& sha256) {
  Json key{sha256,
           compute_name(context.model->compute_mode()),
           graph.roles(),
           metric_name(prompts.metric.kind()),
           ablation_name(prompts.ablation.kind),
           prompts.ablation.references,
           prompts.ablation.groups};
  for (const Example& e : prompts.set.examples)
    key.push_back({e.clean, e.corrupted, e.answers, e.wrong, e.best_wrong, e.loss_from, e.positions});
  const std::string text = dump_json(key);
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex();
}

Found score(const Context& context, const Graph& graph, const Prompts& prompts, const CircuitOptions& o, PatchedEdges& patched) {
  const std::vector<Example>& examples = prompts.set.examples;
  Found found;
  if (parse_edge_method(o.method) == EdgeMethod::kExact) {
    CircuitRun run(*context.model, graph, examples, {prompts.ablation, o.memory_gb, context.progress});
    std::vector<int64_t> edges(graph.n_edges());
    std::iota(edges.begin(), edges.end(), int64_t{0});
    patched.patch(run, prompts.metric, graph, edges, context.progress);
    for (const int64_t e : edges) found.scores.push_back(patched.mean(e));
    if (o.select == "bootstrap")
      for (size_t i = 0; i < examples.size(); ++i)
        for (const int64_t e : edges) found.per_example.push_back(static_cast<float>(patched.effects(e)[i]));
    return found;
  }
  EdgeScores s = score_edges(*context.model, graph, examples, prompts.metric,
                             {.method = parse_edge_method(o.method),
                              .ablation = prompts.ablation,
                              .rule = parse_quadrature(o.rule),
                              .per_example = o.select == "bootstrap",
                              .steps = o.steps,
                              .memory_gb = o.memory_gb,
                              .progress = context.progress});
  found.scores = std::move(s.mean);
  found.node = std::move(s.node);
  found.per_example = std::move(s.per_example);
  found.gap = s.total_gap;
  if (std::isfinite(found.gap)) {
    found.gaps = std::move(s.gap);
    found.ig_nodes = std::move(s.nodes);
  }
  return found;
}

EdgeMask select_edges(const Graph& graph, const Found& found, const CircuitOptions& o, Json& report) {
  if (o.edges > 0 && o.nodes > 0) throw FieldError("nodes", "give --edges or --nodes, not both");
  if (o.select == "threshold") {
    if (o.edges > 0 || o.nodes > 0)
      throw FieldError("tau", "--select threshold takes what --tau says; leave --edges and --nodes out");
    if (!o.tau) throw FieldError("tau", "--select threshold needs --tau, the least size of a score");
    return prune(graph, select_threshold(found.scores, *o.tau, o.by_sign));
  }
  if (o.tau) throw FieldError("tau", "--tau is the threshold of --select threshold; name it");
  if (!found.node.empty()) {
    if (o.edges > 0) throw FieldError("edges", "--method atp scores nodes; give --nodes");
    if (o.select != "top")
      throw FieldError("select",
                       fmt::format("--method atp scores nodes and takes the top ones, or by threshold; --select {} is for edges",
                                   printable(o.select)));
    return select_nodes(graph, found.node, o.nodes > 0 ? o.nodes : std::max<int64_t>(1, graph.n_sources() / 10), o.by_sign);
  }
  const auto pick = [&](int64_t n) {
    if (o.select == "top") return prune(graph, select_top(found.scores, n, o.by_sign));
    if (o.select == "greedy") return prune(graph, select_greedy(graph, found.scores, n, o.by_sign));
    if (o.select == "bootstrap")
      return prune(
          graph,
          select_bootstrap(found.per_example, std::ssize(found.per_example) / graph.n_edges(), graph.n_edges(), n, o.seed).mask);
    if (o.select == "ilp") {
      const IlpSelection s = select_ilp(graph, found.scores, {.edges = n, .seconds = o.time_limit, .by_sign = o.by_sign});
      report["ilp"] = {{"value", s.value}, {"bound", s.bound}, {"gap", s.gap}, {"optimal", s.optimal}};
      return s.mask;
    }
    throw FieldError("select",
                     fmt::format("select \"{}\": expected top, threshold, greedy, bootstrap or ilp", printable(o.select)));
  };
  if (o.nodes == 0) return pick(o.edges > 0 ? o.edges : std::max<int64_t>(1, graph.n_edges() / 100));
  if (o.select == "ilp") throw FieldError("nodes", "--select ilp counts edges; give --edges");
  // As many edges as leave no more nodes than asked for.
  int64_t low = 0, high = graph.n_edges();
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (std::ssize(circuit_nodes(graph, pick(middle))) <= o.nodes) low = middle;
    else high = middle - 1;
  }
  return pick(low);
}

// Exact effects of the top edges, and of as many random rejected ones: how much attribution misses.
Json refine(const Context& context, const Graph& graph, const Prompts& prompts, const CircuitOptions& o, const EdgeMask& mask,
            const Found& found, PatchedEdges& patched, Circuit& circuit) {
  const std::vector<int64_t> order = ranked_edges(found.scores, o.by_sign);
  std::vector<int64_t> top, rejected;
  for (const int64_t e : order)
    if (mask[e] && std::ssize(top) < o.refine) top.push_back(e);
  if (top.empty()) return {{"edges", 0}, {"sampled", 0}, {"missed", nullptr}};
  const Philox rng(o.seed, "refine");
  std::vector<double> place(graph.n_edges());
  for (int64_t e = 0; e < graph.n_edges(); ++e) place[e] = mask[e] ? -1 : rng.uniform(e);
  for (const int64_t e : ranked_edges(place, true))
    if (!mask[e] && std::ssize(rejected) < o.refine) rejected.push_back(e);

  CircuitRun run(*context.model, graph, prompts.set.examples, {prompts.ablation, o.memory_gb, context.progress});
  std::vector<int64_t> all = top;
  all.insert(all.end(), rejected.begin(), rejected.end());
  patched.patch(run, prompts.metric, graph, all, context.progress);
  for (CircuitEdge& e : circuit.edges)
    if (std::find(top.begin(), top.end(), e.edge) != top.end()) e.exact = patched.mean(e.edge);
  const double cut = std::abs(found.scores[top.back()]);
  double missed = 0, xy = 0, xx = 0, yy = 0;
  for (const int64_t e : rejected) missed += std::abs(patched.mean(e)) >= cut ? 1 : 0;
  for (const int64_t e : all) {
    const double x = found.scores[e], y = patched.mean(e);
    xy += x * y, xx += x * x, yy += y * y;
  }
  return {{"edges", top.size()},
          {"sampled", rejected.size()},
          {"threshold", cut},
          {"missed", rejected.empty() ? Json() : Json(missed / static_cast<double>(rejected.size()))},
          {"cosine", xx > 0 && yy > 0 ? Json(xy / std::sqrt(xx * yy)) : Json()}};
}

void measure(const Context& context, const Graph& graph, const Prompts& prompts, const CircuitOptions& o, const Circuit& circuit,
             Json& out) {
  CircuitRun run(*context.model, graph, prompts.set.examples, {prompts.ablation, o.memory_gb, context.progress});
  const EdgeMask mask = mask_of(graph, circuit);
  const CircuitQuality q = circuit_quality(run, prompts.metric, graph, mask, {.seed = o.seed, .progress = context.progress});
  Json points = Json::array();
  out["faithfulness"] = nullptr;
  out["f"] = q.f.value;
  out["f_low"] = q.f.low;
  out["f_high"] = q.f.high;
  out["completeness"] = number(q.completeness);
  out["minimality"] = number(q.minimality);
  out["needless"] = number(q.needless);
  out["kl"] = q.kl;
  for (const char* name : {"cpr", "cpr_low", "cpr_high", "cmd", "cmd_low", "cmd_high"}) out[name] = nullptr;
  const FaithfulnessCurve c =
      faithfulness_curve(run, prompts.metric, graph, scores_of(graph, circuit),
                         {.seed = o.seed, .random = o.random, .by_sign = o.by_sign, .progress = context.progress});
  out["full"] = c.full;
  out["empty"] = c.empty;
  // Without scores of all edges only sizes up to the circuit's own mean anything, and areas nothing.
  const bool ranked = !circuit.scores.empty();
  for (const FaithfulnessPoint& p : c.points) {
    if (!ranked && p.asked > std::ssize(circuit.edges) && p.k < 1) continue;
    points.push_back({{"k", p.k},
                      {"f", p.f},
                      {"low", p.low},
                      {"high", p.high},
                      {"edges", p.edges},
                      {"random", number(p.random)},
                      {"random_low", number(p.random_low)},
                      {"random_high", number(p.random_high)}});
  }
  out["faithfulness"] = std::move(points);
  if (!ranked) return;
  out["cpr"] = c.cpr, out["cpr_low"] = c.cpr_low, out["cpr_high"] = c.cpr_high;
  out["cmd"] = c.cmd, out["cmd_low"] = c.cmd_low, out["cmd_high"] = c.cmd_high;
}

// Fields of every result: what ran, and on what.
Json head(const Context& context, const Graph& graph, const Prompts& prompts, const Circuit& circuit, const std::string& sha256) {
  Json out{{"model", context.name}};
  out.update(circuit_to_json(graph, circuit, sha256));
  out["compute"] = compute_name(context.model->compute_mode());
  out["prompts"] = prompts.set.examples.size();
  return out;
}

Json warnings_json(const Prompts& prompts) { return prompts.warnings; }

// By the KL to the full model, unless a metric was asked for.
EdgeMask search_acdc(const Context& context, const Graph& graph, const Prompts& prompts, const CircuitOptions& o,
                     const Found& found, const std::string& sha256, Json& report) {
  if (o.edges > 0 || o.nodes > 0 || o.select != "top")
    throw FieldError("method", "--method acdc chooses its edges itself, by --tau; leave --edges, --nodes and --select out");
  if (o.refine > 0) throw FieldError("refine", "--method acdc has tested its edges already; leave --refine out");
  CircuitRun run(*context.model, graph, prompts.set.examples, {prompts.ablation, o.memory_gb, context.progress});
  const Metric metric = o.metric ? prompts.metric : Metric(MetricKind::kKl);
  AcdcSearch search{.state = o.state, .progress = context.progress};
  if (o.tau) search.tau = *o.tau;
  search.key = fmt::format("{} {} {}", state_key(context, graph, prompts, sha256), search.tau, metric_name(metric.kind()));
  return find_acdc(run, graph, metric, found.scores, search, report["acdc"]);
}

Json find(const Context& context, const CircuitOptions& o) {
  const Prompts prompts = read_prompts(context, o.examples, o.metric.value_or(""), o.ablate.value_or("resample"));
  const Graph graph(context.model->config(),
                    {.roles = o.positions ? position_roles(prompts.set.examples) : std::vector<std::string>{}});
  const std::string sha256 = model_sha256(*context.model);
  const bool exact = o.method == "exact" || o.refine > 0, by_acdc = o.method == "acdc";
  PatchedEdges patched(exact ? o.state : std::filesystem::path(), exact ? state_key(context, graph, prompts, sha256) : "",
                       prompts.set.examples.size());
  CircuitOptions scoring = o;
  if (by_acdc) scoring.method = "eap";
  const Found found = score(context, graph, prompts, scoring, patched);
  Json report = Json::object();
  const EdgeMask mask =
      by_acdc ? search_acdc(context, graph, prompts, o, found, sha256, report) : select_edges(graph, found, o, report);

  Circuit circuit{.task = prompts.set.task,
                  .metric = std::string(metric_name(prompts.metric.kind())),
                  .ablation = std::string(ablation_name(prompts.ablation.kind)),
                  .roles = graph.roles(),
                  .scores = found.scores};
  for (const int64_t e : ranked_edges(found.scores, o.by_sign))
    if (mask[e]) circuit.edges.push_back({e, found.scores[e], {}});
  if (o.method == "exact")
    for (CircuitEdge& e : circuit.edges) e.exact = e.score;
  const Json refined = o.refine > 0 ? refine(context, graph, prompts, o, mask, found, patched, circuit) : Json();

  Json out = head(context, graph, prompts, circuit, sha256);
  out["method"] = o.method;
  out["examples"] = {{"task", prompts.set.task}, {"n", prompts.set.examples.size()}, {"seed", o.examples.seed}};
  if (o.examples.bos) out["examples"]["bos"] = *o.examples.bos;
  out["signed"] = o.by_sign;
  out.update(report);
  out["ig_gap"] = number(found.gap);
  if (!found.gaps.empty()) {
    out["ig_gaps"] = Json::array();
    for (const double g : found.gaps) out["ig_gaps"].push_back(number(g));
    out["ig_nodes"] = found.ig_nodes;
  }
  out["refined"] = refined;
  out["missed"] = refined.is_null() ? Json() : refined["missed"];
  if (circuit.edges.empty()) {
    Prompts warned = prompts;
    warned.warnings.push_back("no edge is left: what was selected does not reach from the input to the logits; select more");
    out["warnings"] = warnings_json(warned);
    return out;
  }
  if (o.measure) measure(context, graph, prompts, o, circuit, out);
  out["warnings"] = warnings_json(prompts);
  return out;
}

// The prompts that a file was found on, where none are given.
ExamplesOptions examples_of(const CircuitOptions& o, const Json& file) {
  if (o.examples.task || !o.examples.pairs.empty()) return o.examples;
  const std::string none = fmt::format("{}: it does not hold the prompts that it was found on; give --pairs, or --task", o.where);
  const auto e = file.is_object() ? file.find("examples") : file.end();
  if (e == file.end() || !e->is_object()) throw Error(ErrorKind::kInvalidArgument, none);
  ExamplesOptions out = o.examples;
  try {
    Fields f(*e);
    out.task = f.text("task").value_or("pairs");
    if (*out.task == "pairs")
      throw Error(ErrorKind::kInvalidArgument, "the prompts themselves are not in it; give --pairs, or --task");
    find_task(*out.task);
    out.n = f.integer("n", 1, 10'000).value_or(0);
    out.seed = static_cast<uint64_t>(f.integer("seed", 0, int64_t{1} << 53).value_or(0));
    if (!out.bos) out.bos = f.boolean("bos");
  } catch (const Error& error) {
    throw FieldError("circuit", fmt::format("{}: \"examples\": {}", o.where, error.what()));
  }
  return out;
}

Json run_prompts(const Context& context, const Graph& graph, const Prompts& prompts, const CircuitOptions& o,
                 const Circuit& circuit, Json out) {
  CircuitRun run(*context.model, graph, prompts.set.examples, {prompts.ablation, o.memory_gb, context.progress});
  const EdgeMask full(graph.n_edges(), 1), empty(graph.n_edges(), 0), mask = mask_of(graph, circuit);
  const std::array<const EdgeMask*, 3> circuits{&full, &empty, &mask};
  const auto m = run.metric(prompts.metric, circuits);
  Json list = Json::array();
  for (size_t i = 0; i < prompts.set.examples.size(); ++i)
    list.push_back({{"clean", prompts.set.clean[i]},
                    {"corrupted", prompts.set.corrupted[i]},
                    {"full", m[0][i]},
                    {"empty", m[1][i]},
                    {"circuit", m[2][i]},
                    {"f", number((m[2][i] - m[1][i]) / (m[0][i] - m[1][i]))}});
  const Interval f = faithfulness(m[2], m[0], m[1], o.seed, 1000);
  out["prompts"] = std::move(list);
  out["full"] = mean_of(m[0]);
  out["empty"] = mean_of(m[1]);
  out["circuit"] = mean_of(m[2]);
  out["f"] = number(f.value), out["f_low"] = number(f.low), out["f_high"] = number(f.high);
  out["warnings"] = warnings_json(prompts);
  return out;
}

Json use_file(const Context& context, const CircuitOptions& o) {
  if (!o.circuit)
    throw FieldError("circuit",
                     fmt::format("circuit {} needs a circuit: the file that `microtome circuit MODEL find --out` wrote", o.verb));
  const Circuit circuit = any_circuit(*o.circuit, o.where, *context.model);
  const Graph graph = graph_of(circuit, context.model->config());
  if (o.verb == "export") {
    if (o.format != "neuronpedia") return export_circuit(context, graph, circuit, o.format, nullptr);
    const ExampleSet set = read_examples(context, examples_of(o, *o.circuit));
    return export_circuit(context, graph, circuit, o.format, &set);
  }
  const Prompts prompts =
      read_prompts(context, examples_of(o, *o.circuit), o.metric.value_or(circuit.metric), o.ablate.value_or(circuit.ablation));
  Circuit measured = circuit;
  measured.task = prompts.set.task;
  measured.metric = metric_name(prompts.metric.kind());
  measured.ablation = ablation_name(prompts.ablation.kind);
  CircuitOptions options = o;
  Json out = head(context, graph, prompts, measured, model_sha256(*context.model));
  // Where it came from; only of our own files, whose fields have been checked.
  if (o.circuit->is_object() && o.circuit->contains("schema")) {
    for (const char* name : {"method", "examples", "signed", "ig_gap", "refined", "missed"})
      if (o.circuit->contains(name)) out[name] = (*o.circuit)[name];
    if (out.contains("signed") && out["signed"].is_boolean()) options.by_sign = out["signed"].get<bool>();
  }
  if (o.verb == "run") {
    out.erase("scores");
    return run_prompts(context, graph, prompts, options, measured, std::move(out));
  }
  measure(context, graph, prompts, options, measured, out);
  out["warnings"] = warnings_json(prompts);
  return out;
}

}  // namespace

Json circuit(const Context& context, const CircuitOptions& o) {
  if (o.verb == "find") return find(context, o);
  if (o.verb == "run" || o.verb == "eval" || o.verb == "export") return use_file(context, o);
  throw FieldError("verb", fmt::format("circuit \"{}\": expected find, run, eval or export", printable(o.verb)));
}

}  // namespace microtome::api
