#include "microtome/circuits/graph/edge_scores.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "microtome/base/error.h"
#include "microtome/circuits/graph/group_scores.h"

namespace microtome {
namespace {

constexpr std::array<std::string_view, 6> kNames{"eap", "eap-ig", "eap-ig-activations", "clean-corrupted", "atp", "exact"};

// Rows of a group of examples, and of one differentiated pass.
constexpr int64_t kGroupRows = 256, kPassRows = 384;

void check(const Model& model, const Graph& graph, const std::vector<Example>& examples, const Metric& metric) {
  const Config& c = model.config();
  if (examples.empty())
    throw Error(ErrorKind::kInvalidArgument, "no prompt pairs; give --task, --pairs or --clean and --corrupted");
  if (c.n_layers == 0) throw Error(ErrorKind::kUnsupported, "the model has no layers, so it has no edges to score");
  if (graph.kv_heads() != c.n_kv_heads)
    throw Error(ErrorKind::kUnsupported, "the graph counts keys and values per query head; use the grouped graph");
  for (const Example& e : examples) {
    check_example(e, c);
    metric.check(e);
  }
}

EdgeScores exact_scores(const Model& model, const Graph& graph, const std::vector<Example>& examples, const Metric& metric,
                        const ScoreOptions& options) {
  CircuitRun run(model, graph, examples, {options.ablation, options.memory_gb, options.progress});
  EdgeScores out;
  const auto n = static_cast<double>(examples.size());
  out.mean.assign(graph.n_edges(), 0.0);
  if (options.per_example) out.per_example.assign(examples.size() * graph.n_edges(), 0.0f);
  std::vector<int64_t> edges(graph.n_edges());
  std::iota(edges.begin(), edges.end(), int64_t{0});
  patch_edges(
      run, metric, graph, edges,
      [&](size_t i, std::span<const double> effects) {
        for (size_t e = 0; e < effects.size(); ++e) {
          out.mean[i] += effects[e] / n;
          if (options.per_example) out.per_example[e * graph.n_edges() + i] = static_cast<float>(effects[e]);
        }
      },
      options.progress);
  EdgeMask full(graph.n_edges(), 1), none(graph.n_edges(), 0);
  const std::array<const EdgeMask*, 2> both{&full, &none};
  auto ends = run.metric(metric, both);
  out.clean = ends[0];
  out.ablated = ends[1];
  out.gap.assign(examples.size(), std::numeric_limits<double>::quiet_NaN());
  out.nodes.assign(examples.size(), 0);
  out.total_gap = std::numeric_limits<double>::quiet_NaN();
  return out;
}

}  // namespace

std::string_view edge_method_name(EdgeMethod method) { return kNames[static_cast<size_t>(method)]; }

EdgeMethod parse_edge_method(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<EdgeMethod>(i);
  throw Error(ErrorKind::kInvalidArgument,
              "method \"{}\": expected eap, eap-ig, eap-ig-activations, clean-corrupted, atp, acdc or exact", printable(name));
}

EdgeScores score_edges(const Model& model, const Graph& graph, const std::vector<Example>& examples, const Metric& metric,
                       const ScoreOptions& options) {
  check(model, graph, examples, metric);
  if (options.method == EdgeMethod::kExact) return exact_scores(model, graph, examples, metric, options);
  const auto n = std::ssize(examples);
  const int64_t edges = graph.n_edges(), d = model.config().d_model;
  const Ablator ablator(model, options.ablation, examples, options.progress);
  const double budget = options.memory_gb * 1e9;
  const int64_t group_bytes = Contraction::bytes_per_row(graph, false) + 4 * d * 4 * (2 + 2 * graph.n_layers());
  const int64_t pass_bytes = GradientPass::bytes_per_row(model.config()) + 2 * d * 4 * (model.config().n_heads + 4);
  const int64_t pass_rows = std::clamp<int64_t>(static_cast<int64_t>(budget / 2 / static_cast<double>(pass_bytes)), 1, kPassRows);

  EdgeScores out;
  out.mean.assign(edges, 0.0);
  if (options.per_example) out.per_example.assign(n * edges, 0.0f);
  const bool per_node = options.method == EdgeMethod::kAtp;
  if (per_node) out.node.assign(graph.n_sources() * graph.n_roles(), 0.0);
  double wanted = 0, missed = 0;
  if (options.progress) options.progress->begin("prompts", static_cast<double>(n));
  for (size_t begin = 0, end = 0; begin < examples.size(); begin = end) {
    std::vector<size_t> chosen;
    int64_t rows = 0;
    double bytes = 0;
    while (end < examples.size()) {
      const int64_t own = examples[end].length() - first_row(examples[end], metric, options.ablation.kind);
      const double own_bytes = static_cast<double>(own * group_bytes + edges * 8);
      const int64_t limit = options.method == EdgeMethod::kEap ? std::min(kGroupRows, pass_rows) : kGroupRows;
      if (end > begin && (rows + own > limit || bytes + own_bytes > budget / 2)) break;
      rows += own;
      bytes += own_bytes;
      chosen.push_back(end++);
    }
    GroupScores group(model, graph, metric, options, ablator, make_group(model, examples, chosen, metric, options.ablation.kind),
                      pass_rows);
    group.run();
    for (size_t i = 0; i < group.size(); ++i) {
      const std::vector<double>& s = group.scores(i);
      for (int64_t e = 0; e < edges; ++e) out.mean[e] += s[e] / static_cast<double>(n);
      if (options.per_example)
        for (int64_t e = 0; e < edges; ++e) out.per_example[chosen[i] * edges + e] = static_cast<float>(s[e]);
      if (per_node)
        for (size_t u = 0; u < out.node.size(); ++u) out.node[u] += group.node(i)[u] / static_cast<double>(n);
      out.clean.push_back(group.clean(i));
      out.ablated.push_back(group.ablated(i));
      out.gap.push_back(group.gap(i));
      out.nodes.push_back(group.nodes(i));
      const double target = group.ablated(i) - group.clean(i);
      wanted += std::abs(target);
      missed += std::abs(group.input_score(i) - target);
    }
    if (options.progress) options.progress->step(static_cast<double>(chosen.size()));
  }
  if (options.progress) options.progress->end();
  model.arena().trim();  // what comes next needs other sizes
  const bool has_gap = options.method == EdgeMethod::kEapIg || options.method == EdgeMethod::kCleanCorrupted;
  out.total_gap = has_gap && wanted != 0 ? missed / wanted : std::numeric_limits<double>::quiet_NaN();
  return out;
}

}  // namespace microtome
