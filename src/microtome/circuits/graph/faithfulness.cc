#include "microtome/circuits/graph/faithfulness.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/graph/select.h"

namespace microtome {
namespace {

constexpr std::array<double, 10> kShares{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1};
constexpr double kSmall = 0.001;    // a drop of f that counts as none
constexpr double kKnockOut = 0.25;  // of the circuit's nodes, in completeness

double mean_of(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(std::max<size_t>(1, x.size()));
}

double ratio(double circuit, double full, double empty) { return (circuit - empty) / (full - empty); }

Interval interval_of(double value, std::vector<double> draws) {
  std::erase_if(draws, [](double x) { return !std::isfinite(x); });
  if (draws.empty()) return {value, value, value};
  std::sort(draws.begin(), draws.end());
  const auto at = [&](double q) { return draws[static_cast<size_t>(q * static_cast<double>(draws.size() - 1) + 0.5)]; };
  return {value, at(0.025), at(0.975)};
}

// Means of several rows over one bootstrap draw of the examples.
class Bootstrap {
 public:
  Bootstrap(int64_t examples, uint64_t seed, int64_t draws) : n_(examples), draws_(draws), rng_(seed, "faithfulness bootstrap") {}
  int64_t draws() const { return examples() < 2 ? 0 : draws_; }
  int64_t examples() const { return n_; }
  double mean(std::span<const double> x, int64_t draw) const {
    double sum = 0;
    for (int64_t i = 0; i < n_; ++i) sum += x[rng_.below(n_, i, draw)];
    return sum / static_cast<double>(n_);
  }

 private:
  int64_t n_, draws_;
  Philox rng_;
};

void check_ends(double full, double empty, MetricKind kind) {
  if (std::abs(full - empty) <= 1e-6 * std::max({1.0, std::abs(full), std::abs(empty)}))
    throw Error(
        ErrorKind::kInvalidArgument,
        "the metric {} is {:.6g} in the full and {:.6g} in the empty circuit: there is nothing to explain; choose prompts or "
        "a metric that the corruption changes",
        metric_name(kind), full, empty);
}

// As many edges as asked for, anywhere in the graph.
EdgeMask random_circuit(const Graph& graph, int64_t n, const Philox& rng, uint64_t lane) {
  std::vector<double> order(graph.n_edges());
  for (int64_t e = 0; e < graph.n_edges(); ++e) order[e] = rng.uniform(e, lane);
  return select_top(order, n, true);
}

std::vector<std::vector<double>> run_masks(CircuitRun& run, const Metric& metric, const std::vector<EdgeMask>& masks) {
  std::vector<const EdgeMask*> circuits;
  for (const EdgeMask& m : masks) circuits.push_back(&m);
  return run.metric(metric, circuits);
}

}  // namespace

std::span<const double> mib_shares() { return kShares; }

double trapezoid(std::span<const double> k, std::span<const double> y) {
  double sum = 0;
  for (size_t i = 1; i < k.size(); ++i) sum += (k[i] - k[i - 1]) * (y[i] + y[i - 1]) / 2;
  return sum;
}

Interval faithfulness(std::span<const double> circuit, std::span<const double> full, std::span<const double> empty, uint64_t seed,
                      int64_t draws) {
  const Bootstrap boot(std::ssize(circuit), seed, draws);
  std::vector<double> values;
  for (int64_t b = 0; b < boot.draws(); ++b)
    values.push_back(ratio(boot.mean(circuit, b), boot.mean(full, b), boot.mean(empty, b)));
  return interval_of(ratio(mean_of(circuit), mean_of(full), mean_of(empty)), std::move(values));
}

FaithfulnessCurve faithfulness_curve(CircuitRun& run, const Metric& metric, const Graph& graph, std::span<const double> scores,
                                     const FaithfulnessOptions& options) {
  const Philox rng(options.seed, "random circuits");
  const auto sizes = std::ssize(kShares);
  if (options.progress) options.progress->begin("circuits", static_cast<double>(2 + sizes * (1 + options.random)));
  const auto run_step = [&](const std::vector<EdgeMask>& masks) {
    auto values = run_masks(run, metric, masks);
    if (options.progress) options.progress->step(static_cast<double>(masks.size()));
    return values;
  };
  const auto ends = run_step({EdgeMask(graph.n_edges(), 1), EdgeMask(graph.n_edges(), 0)});
  const std::vector<double>&full = ends[0], &empty = ends[1];
  FaithfulnessCurve curve{.full = mean_of(full), .empty = mean_of(empty)};
  check_ends(curve.full, curve.empty, metric.kind());

  const std::vector<int64_t> order = ranked_edges(scores, options.by_sign);
  std::vector<std::vector<double>> values;
  for (const double k : kShares) {
    FaithfulnessPoint p{.k = k, .asked = static_cast<int64_t>(k * static_cast<double>(graph.n_edges()))};
    EdgeMask mask(graph.n_edges(), 0);
    for (int64_t i = 0; i < p.asked; ++i) mask[order[i]] = 1;
    mask = prune(graph, std::move(mask));
    p.edges = count_edges(mask);
    values.push_back(run_step({mask})[0]);
    const Interval f = faithfulness(values.back(), full, empty, options.seed, options.draws);
    p.f = f.value, p.low = f.low, p.high = f.high;
    p.random = p.random_low = p.random_high = std::numeric_limits<double>::quiet_NaN();
    if (options.random > 0 && k < 1) {
      std::vector<double> f_random;
      for (int64_t r = 0; r < options.random; ++r) {
        const auto m = run_step({random_circuit(graph, p.edges, rng, static_cast<uint64_t>(r))})[0];
        f_random.push_back(ratio(mean_of(m), curve.full, curve.empty));
      }
      p.random = mean_of(f_random);
      p.random_low = *std::min_element(f_random.begin(), f_random.end());
      p.random_high = *std::max_element(f_random.begin(), f_random.end());
    }
    curve.points.push_back(p);
  }
  if (options.progress) options.progress->end();

  const auto areas = [&](auto f_of) {
    std::vector<double> f, gap;
    for (int64_t s = 0; s < sizes; ++s) {
      f.push_back(f_of(s));
      gap.push_back(std::abs(1 - f.back()));
    }
    return std::pair{trapezoid(kShares, f), trapezoid(kShares, gap)};
  };
  std::tie(curve.cpr, curve.cmd) = areas([&](int64_t s) { return curve.points[s].f; });
  const Bootstrap boot(std::ssize(full), options.seed, options.draws);
  std::vector<double> cpr, cmd;
  for (int64_t b = 0; b < boot.draws(); ++b) {
    const double m_full = boot.mean(full, b), m_empty = boot.mean(empty, b);
    const auto [r, d] = areas([&](int64_t s) { return ratio(boot.mean(values[s], b), m_full, m_empty); });
    cpr.push_back(r);
    cmd.push_back(d);
  }
  const Interval r = interval_of(curve.cpr, std::move(cpr)), d = interval_of(curve.cmd, std::move(cmd));
  curve.cpr_low = r.low, curve.cpr_high = r.high;
  curve.cmd_low = d.low, curve.cmd_high = d.high;
  return curve;
}

namespace {

// Edges that touch one of the given nodes (as sources, or as what their receivers belong to) are removed.
EdgeMask without_nodes(const Graph& graph, EdgeMask mask, const std::vector<uint8_t>& gone) {
  const int64_t roles = graph.n_roles();
  for (int64_t e = 0; e < graph.n_edges(); ++e) {
    if (!mask[e]) continue;
    const EdgeEnds x = graph.ends(e);
    if (gone[x.source * roles + x.role]) mask[e] = 0;
  }
  return mask;
}

double completeness_of(CircuitRun& run, const Metric& metric, const Graph& graph, const EdgeMask& circuit, double full,
                       double empty, const QualityOptions& options) {
  const Philox rng(options.seed, "completeness");
  const int64_t roles = graph.n_roles(), sources = graph.n_sources();
  std::vector<uint8_t> member(sources * roles, 0);
  for (int64_t e = 0; e < graph.n_edges(); ++e)
    if (circuit[e]) {
      const EdgeEnds x = graph.ends(e);
      if (x.source > 0) member[x.source * roles + x.role] = 1;
    }
  double sum = 0;
  for (int64_t draw = 0; draw < options.knockouts; ++draw) {
    std::vector<uint8_t> gone(member.size(), 0);
    for (size_t i = 0; i < member.size(); ++i) gone[i] = member[i] && rng.uniform(i, draw) < kKnockOut;
    const auto m =
        run_masks(run, metric, {without_nodes(graph, EdgeMask(graph.n_edges(), 1), gone), without_nodes(graph, circuit, gone)});
    sum += std::abs(ratio(mean_of(m[0]), full, empty) - ratio(mean_of(m[1]), full, empty));
    if (options.progress) options.progress->step(2);
  }
  return options.knockouts > 0 ? sum / static_cast<double>(options.knockouts) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

CircuitQuality circuit_quality(CircuitRun& run, const Metric& metric, const Graph& graph, const EdgeMask& circuit,
                               const QualityOptions& options) {
  std::vector<int64_t> edges;
  for (int64_t e = 0; e < graph.n_edges(); ++e)
    if (circuit[e]) edges.push_back(e);
  // A random sample of the edges, the first of a seeded order.
  const Philox rng(options.seed, "minimality");
  std::vector<double> place(edges.size());
  for (size_t i = 0; i < edges.size(); ++i) place[i] = rng.uniform(edges[i]);
  std::vector<int64_t> tried;
  for (const int64_t i : ranked_edges(place, true))
    if (std::ssize(tried) < options.edges_tried) tried.push_back(edges[i]);

  if (options.progress) options.progress->begin("circuit", static_cast<double>(4 + 2 * options.knockouts + std::ssize(tried)));
  const auto ends = run_masks(run, metric, {EdgeMask(graph.n_edges(), 1), EdgeMask(graph.n_edges(), 0), circuit});
  if (options.progress) options.progress->step(3);
  const double full = mean_of(ends[0]), empty = mean_of(ends[1]);
  check_ends(full, empty, metric.kind());
  CircuitQuality q;
  q.f = faithfulness(ends[2], ends[0], ends[1], options.seed, options.draws);
  q.completeness = completeness_of(run, metric, graph, circuit, full, empty, options);

  constexpr size_t kChunk = 64;
  std::sort(tried.begin(), tried.end(), [&](int64_t a, int64_t b) { return graph.ends(a).receiver < graph.ends(b).receiver; });
  double drop = 0;
  for (size_t begin = 0; begin < tried.size(); begin += kChunk) {
    std::vector<EdgeMask> masks(std::min(kChunk, tried.size() - begin), circuit);
    for (size_t i = 0; i < masks.size(); ++i) masks[i][tried[begin + i]] = 0;
    for (const auto& m : run_masks(run, metric, masks)) {
      const double f = q.f.value - ratio(mean_of(m), full, empty);
      drop += f;
      q.needless += f < kSmall ? 1 : 0;
    }
    if (options.progress) options.progress->step(static_cast<double>(masks.size()));
  }
  const auto n = static_cast<double>(tried.size());
  q.minimality = tried.empty() ? std::numeric_limits<double>::quiet_NaN() : drop / n;
  q.needless = tried.empty() ? std::numeric_limits<double>::quiet_NaN() : q.needless / n;
  q.kl = mean_of(run_masks(run, Metric(MetricKind::kKl), {circuit})[0]);
  if (options.progress) options.progress->end();
  return q;
}

}  // namespace microtome
