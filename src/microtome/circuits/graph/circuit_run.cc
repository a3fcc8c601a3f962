#include "microtome/circuits/graph/circuit_run.h"

#include <algorithm>
#include <map>

#include "microtome/base/error.h"
#include "microtome/circuits/graph/circuit_pass.h"
#include "microtome/model/macs.h"

namespace microtome {
namespace {

// Rows of one pass: enough for products to be fast.
constexpr int64_t kRows = 512;

struct Prepared {
  Group group;
  GroupRun ablated;
};

int64_t prepared_bytes(const Config& c, int64_t rows) {
  const int64_t streams = 2 * c.n_layers + 2, sources = 1 + c.n_layers;
  return rows * (streams * c.d_model + sources * c.d_model + c.n_layers * c.n_heads * c.d_head) * 4;
}

// One sequence's keys and values, in blocks of 64.
int64_t cache_bytes(const Config& c, int64_t length, int64_t layers) {
  return layers * c.n_kv_heads * ((length + 63) / 64) * 64 * 2 * c.d_head * 4;
}

}  // namespace

struct CircuitRun::State {
  const Model& model;
  const Graph& graph;
  const std::vector<Example>& examples;
  CircuitRunOptions options;
  Ablator ablator;
  std::vector<std::vector<int32_t>> roles;  // of each example's positions
  int64_t macs = 0, plain_macs = 0;
  // What a metric's groups of examples are, and their ablated values where all fit.
  std::map<MetricKind, std::vector<std::vector<size_t>>> groups;
  std::map<std::pair<MetricKind, size_t>, std::shared_ptr<Prepared>> kept;
  std::map<std::pair<MetricKind, size_t>, Tensor> clean;

  double budget() const { return options.memory_gb * 1e9; }
  const std::vector<std::vector<size_t>>& groups_for(const Metric& metric);
  std::shared_ptr<Prepared> prepare(const Metric& metric, size_t group);
  int64_t first_layer(std::span<const EdgeMask* const> circuits) const;
  size_t how_many(std::span<const EdgeMask* const> circuits, const Group& group) const;
  void run(const Metric& metric, const Prepared& p, std::span<const EdgeMask* const> circuits, size_t first, const Sink& sink);
  void count_plain(const Metric& metric, const Example& e, int64_t circuits);
};

const std::vector<std::vector<size_t>>& CircuitRun::State::groups_for(const Metric& metric) {
  auto [it, added] = groups.try_emplace(metric.kind());
  if (!added) return it->second;
  const int64_t row_bytes = CircuitPass::bytes_per_row(graph, 0) + prepared_bytes(model.config(), 1);
  int64_t rows = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    const int64_t own = examples[i].length() - first_row(examples[i], metric, options.ablation.kind);
    const bool full = rows + own > kRows || static_cast<double>((rows + own) * row_bytes) > budget() / 2;
    if (it->second.empty() || (rows > 0 && full)) {
      it->second.emplace_back();
      rows = 0;
    }
    it->second.back().push_back(i);
    rows += own;
  }
  return it->second;
}

std::shared_ptr<Prepared> CircuitRun::State::prepare(const Metric& metric, size_t group) {
  const auto key = std::pair{metric.kind(), group};
  if (const auto it = kept.find(key); it != kept.end()) return it->second;
  auto p = std::make_shared<Prepared>();
  p->group = make_group(model, examples, groups_for(metric)[group], metric, options.ablation.kind);
  p->ablated = ablator.values(p->group, metric, true, &macs, options.progress);
  double bytes = 0;
  for (const auto& g : groups_for(metric))
    for (const size_t i : g) bytes += static_cast<double>(prepared_bytes(model.config(), examples[i].length()));
  if (bytes < budget() / 4) kept[key] = p;
  return p;
}

// The first layer where circuits differ; below it they share one run.
int64_t CircuitRun::State::first_layer(std::span<const EdgeMask* const> circuits) const {
  if (circuits.size() < 2) return 0;
  for (int64_t l = 0; l + 1 < graph.n_layers(); ++l)
    for (int64_t role = 0; role < graph.n_roles(); ++role) {
      const int64_t begin = graph.first_edge(graph.first_receiver(l), role);
      const int64_t end = graph.first_edge(graph.first_receiver(l + 1), role);
      for (size_t i = 1; i < circuits.size(); ++i)
        if (!std::equal(circuits[i]->begin() + begin, circuits[i]->begin() + end, circuits[0]->begin() + begin)) return l;
    }
  return graph.n_layers() - 1;
}

// Of the circuits that come next, those that run together.
size_t CircuitRun::State::how_many(std::span<const EdgeMask* const> circuits, const Group& group) const {
  const Config& c = model.config();
  int64_t shared = c.n_layers - 1;
  for (size_t n = 1;; ++n) {
    if (n == circuits.size()) return n;
    const std::array<const EdgeMask*, 2> pair{circuits[0], circuits[n]};
    shared = std::min(shared, first_layer(pair));
    double bytes = 0;
    for (const GroupExample& g : group.examples)
      bytes += static_cast<double>(g.rows() * CircuitPass::bytes_per_row(graph, shared) +
                                   cache_bytes(c, g.example->length(), c.n_layers - shared));
    if (static_cast<double>(n + 1) * bytes > budget() / 2 || std::ssize(circuits) < 1) return n;
    if (static_cast<int64_t>(n) * group.rows >= 2 * kRows) return n;
  }
}

void CircuitRun::State::run(const Metric& metric, const Prepared& p, std::span<const EdgeMask* const> circuits, size_t first,
                            const Sink& sink) {
  const int64_t layers = model.config().n_layers, from = first_layer(circuits);
  const auto rows_of = [&](const EdgeMask* circuit, const CircuitPass* lower, std::vector<CircuitRow>& rows) {
    for (const GroupExample& g : p.group.examples)
      for (int64_t r = 0; r < g.rows(); ++r) {
        const auto at = static_cast<int32_t>(g.row_begin + r);
        rows.push_back({circuit, roles[g.index][g.start + r], at, lower ? lower->deviations(at) : nullptr});
      }
  };
  const auto add_rows = [&](Batch& batch, const GroupExample& g, KvCache* cache) {
    batch.add_sequence(std::span(g.example->clean).subspan(g.start), cache, g.start);
  };

  // What all circuits have in common, once for each example.
  std::vector<std::unique_ptr<KvCache>> lower_caches;
  std::unique_ptr<CircuitPass> lower;
  if (from > 0) {
    std::vector<CircuitRow> rows;
    rows_of(circuits[0], nullptr, rows);
    lower = std::make_unique<CircuitPass>(model, graph, p.ablated.values, std::move(rows), 0, from - 1);
    Batch batch;
    for (const GroupExample& g : p.group.examples) {
      lower_caches.push_back(std::make_unique<KvCache>(g.prefix ? g.prefix->fork() : model.make_cache()));
      add_rows(batch, g, lower_caches.back().get());
    }
    Plan plan;
    plan.stop_after_layer = static_cast<int>(from) - 1;
    lower->attach(plan);
    forward(model, {.batch = batch, .plan = &plan, .progress = options.progress, .macs = &macs});
  }

  std::vector<CircuitRow> rows;
  Batch batch;
  std::vector<std::unique_ptr<KvCache>> caches;
  MetricRows wanted(metric);
  for (const EdgeMask* circuit : circuits) {
    for (size_t i = 0; i < p.group.examples.size(); ++i) {
      const GroupExample& g = p.group.examples[i];
      wanted.add(*g.example, g.start, batch.rows());
      const KvCache* base = from > 0 ? lower_caches[i].get() : g.prefix.get();
      if (base) caches.push_back(std::make_unique<KvCache>(base->fork()));
      add_rows(batch, g, base ? caches.back().get() : nullptr);
    }
    rows_of(circuit, lower.get(), rows);
  }
  CircuitPass pass(model, graph, p.ablated.values, std::move(rows), from, layers - 1);
  Plan plan;
  wanted.apply(plan);
  pass.attach(plan);
  ForwardInput input{.batch = batch, .plan = &plan, .progress = options.progress, .macs = &macs};
  if (from > 0) {
    input.first_layer = static_cast<int>(from);
    // Every receiver's input is put together from its sources; the stream itself is not read.
    input.residual = Tensor::zeros({batch.rows(), model.config().d_model}, model.arena());
  }
  const Forward out = forward(model, input);
  size_t i = 0;
  for (size_t c = 0; c < circuits.size(); ++c)
    for (const GroupExample& g : p.group.examples) sink(first + c, g.index, wanted.take(i++, out.logits.data));
}

void CircuitRun::State::count_plain(const Metric& metric, const Example& e, int64_t circuits) {
  const Config& c = model.config();
  const std::vector<int32_t> columns = metric.columns(e);
  const int64_t width = columns.empty() ? c.vocab : std::ssize(columns);
  plain_macs += circuits * (e.length() * c.n_layers * BlockMacs(c).total() + std::ssize(metric.positions(e)) * c.d_model * width);
}

CircuitRun::CircuitRun(const Model& model, const Graph& graph, const std::vector<Example>& examples,
                       const CircuitRunOptions& options) {
  const Config& c = model.config();
  if (examples.empty())
    throw Error(ErrorKind::kInvalidArgument, "no prompt pairs; give --task, --pairs or --clean and --corrupted");
  for (const Example& e : examples) check_example(e, c);
  if (c.n_layers == 0) throw Error(ErrorKind::kUnsupported, "the model has no layers, so it has no circuits");
  if (graph.kv_heads() != c.n_kv_heads)
    throw Error(
        ErrorKind::kUnsupported,
        "the graph counts keys and values per query head, but {} query heads of this model share one; use the grouped graph",
        c.n_heads / c.n_kv_heads);
  state_.reset(new State{model, graph, examples, options, Ablator(model, options.ablation, examples, options.progress)});
  for (const Example& e : examples) state_->roles.push_back(role_of_positions(graph, e));
}

CircuitRun::~CircuitRun() {
  if (!state_) return;
  const Model& model = state_->model;
  state_.reset();
  model.arena().trim();  // what comes next needs other sizes
}

void CircuitRun::logits(const Metric& metric, std::span<const EdgeMask* const> circuits, const Sink& sink) {
  State& s = *state_;
  for (const EdgeMask* mask : circuits) MT_CHECK_EQ(std::ssize(*mask), s.graph.n_edges());
  for (const Example& e : s.examples) {
    metric.check(e);
    s.count_plain(metric, e, std::ssize(circuits));
  }
  const size_t groups = s.groups_for(metric).size();
  for (size_t g = 0; g < groups && !circuits.empty(); ++g) {
    const std::shared_ptr<Prepared> p = s.prepare(metric, g);
    for (size_t first = 0, n = 0; first < circuits.size(); first += n) {
      n = s.how_many(circuits.subspan(first), p->group);
      s.run(metric, *p, circuits.subspan(first, n), first, sink);
    }
  }
}

std::vector<std::vector<double>> CircuitRun::metric(const Metric& metric, std::span<const EdgeMask* const> circuits) {
  std::vector<std::vector<double>> out(circuits.size(), std::vector<double>(state_->examples.size()));
  const bool kl = metric.kind() == MetricKind::kKl;
  logits(metric, circuits, [&](size_t circuit, size_t example, const Tensor& logits) {
    const Tensor clean = kl ? clean_logits(metric, example) : Tensor();
    out[circuit][example] = metric.value(state_->examples[example], logits, kl ? &clean : nullptr);
  });
  return out;
}

Tensor CircuitRun::clean_logits(const Metric& metric, size_t example) {
  State& s = *state_;
  Tensor& logits = s.clean[{metric.kind(), example}];
  if (!logits.defined()) {
    Batch batch;
    batch.add_sequence(s.examples[example].clean);
    MetricRows wanted(metric);
    wanted.add(s.examples[example], 0, 0);
    Plan plan;
    wanted.apply(plan);
    const Forward out = forward(s.model, {.batch = batch, .plan = &plan, .macs = &s.macs});
    logits = wanted.take(0, out.logits.data).clone();
  }
  return logits;
}

int64_t CircuitRun::macs() const { return state_->macs; }
int64_t CircuitRun::plain_macs() const { return state_->plain_macs; }

}  // namespace microtome
