#include "microtome/api/circuit_acdc.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/base/file.h"
#include "microtome/circuits/graph/select.h"

namespace microtome::api {
namespace {

constexpr int64_t kAllEdges = 20'000, kCandidates = 2'000;
constexpr double kSaveEverySeconds = 10;

std::optional<AcdcState> saved_state(const AcdcSearch& search, const Graph& graph) {
  std::error_code error;
  if (search.state.empty() || !std::filesystem::exists(search.state, error)) return {};
  try {
    const Json json = parse_json(read_file(search.state), search.state.string());
    if (!json.is_object() || !json.contains("acdc") || json.value("key", "") != search.key) return {};
    return acdc_state_from_json(json["acdc"], graph);
  } catch (const std::exception&) {
    return {};  // cut short or not ours: the search begins anew
  }
}

}  // namespace

EdgeMask find_acdc(CircuitRun& run, const Graph& graph, const Metric& metric, std::span<const double> scores,
                   const AcdcSearch& search, Json& report) {
  AcdcOptions options{.tau = search.tau, .progress = search.progress};
  if (graph.n_edges() > kAllEdges) options.candidates = select_top(scores, kCandidates);
  options.resume = saved_state(search, graph);
  auto last = std::chrono::steady_clock::now();
  options.checkpoint = [&](const AcdcState& state) {
    const auto now = std::chrono::steady_clock::now();
    if (search.state.empty() || std::chrono::duration<double>(now - last).count() < kSaveEverySeconds) return;
    last = now;
    const std::string text = dump_json({{"key", search.key}, {"acdc", acdc_state_json(state)}});
    write_atomically(search.state, [&](std::ostream& out) { out << text; });
  };
  const AcdcResult r = acdc(run, metric, graph, options);
  const int64_t tried = options.candidates.empty() ? graph.n_edges() : count_edges(options.candidates);
  report = {{"tau", search.tau},
            {"metric", metric_name(metric.kind())},
            {"candidates", tried},
            {"tested", r.tested},
            {"circuits_run", r.circuits_run},
            {"value", r.value},
            {"macs", r.macs},
            {"plain_macs", r.plain_macs}};
  return prune(graph, r.circuit);
}

}  // namespace microtome::api
