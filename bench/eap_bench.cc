// Edge attribution patching of all edges on prompts of the task `ioi`, beside forward passes of the same prompts, in turn in one
// run; and the memory that it takes above the loaded model.
//
//   eap_bench MODEL [--threads N] [--prompts 8] [--json]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "microtome/base/threads.h"
#include "microtome/circuits/graph/edge_scores.h"
#include "microtome/circuits/tasks/task.h"
#include "microtome/model/loss.h"

namespace microtome {
namespace {

constexpr int kRounds = 5;

struct Options {
  std::string model;
  int threads = 1;
  int64_t prompts = 8;
  bool json = false;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (arg == "--threads") o.threads = std::atoi(value), ++i;
    else if (arg == "--prompts") o.prompts = std::atoi(value), ++i;
    else if (arg == "--json") o.json = true;
    else o.model = arg;
  }
  return o;
}

template <class Fn>
double seconds(Fn&& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Of /proc/self/status, in MB.
double status_mb(const std::string& field) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(field)) return std::atof(line.c_str() + field.size() + 1) / 1024;
  return 0;
}

// Begins the peak anew.
void reset_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

int run(const Options& o) {
  set_num_threads(o.threads);
  const auto model = Model::load(o.model);
  std::vector<Example> examples;
  for (TaskExample& e : find_task("ioi").make({model->config(), model->tokenizer()}, o.prompts, 0))
    examples.push_back(std::move(e.example));
  const Graph graph(model->config());
  const Metric metric(MetricKind::kLogitDiff);
  Batch batch;
  for (const Example& e : examples) batch.add_sequence(e.clean);
  Plan plan;
  reset_peak();
  const double loaded = status_mb("VmRSS");
  const auto eap = [&](EdgeMethod method, int64_t steps) {
    score_edges(*model, graph, examples, metric, {.method = method, .steps = steps});
  };
  eap(EdgeMethod::kEap, 0);
  const double above = status_mb("VmHWM") - loaded;
  double eap_s = 1e9, ig_s = 1e9, forward_s = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    eap_s = std::min(eap_s, seconds([&] { eap(EdgeMethod::kEap, 0); }));
    forward_s = std::min(forward_s, seconds([&] { forward(*model, {.batch = batch, .plan = &plan}); }));
    if (round < 2) ig_s = std::min(ig_s, seconds([&] { eap(EdgeMethod::kEapIg, 5); }));
  }
  const nlohmann::ordered_json result{{"prompts", examples.size()},
                                      {"tokens", batch.rows()},
                                      {"threads", o.threads},
                                      {"edges", graph.n_edges()},
                                      {"eap_s", eap_s},
                                      {"eap_ig_5_s", ig_s},
                                      {"forward_s", forward_s},
                                      {"forwards", eap_s / forward_s},
                                      {"mb_above_weights", above}};
  if (o.json) {
    std::printf("%s\n", result.dump().c_str());
  } else {
    fmt::print("{} prompts, {} tokens, {} threads, {} edges\n", examples.size(), batch.rows(), o.threads, graph.n_edges());
    fmt::print("{:24}{:>10.3f} s   {:.2f} forward passes of the clean prompts\n", "eap", eap_s, eap_s / forward_s);
    fmt::print("{:24}{:>10.3f} s   {:.2f}\n", "eap-ig, 5 nodes", ig_s, ig_s / forward_s);
    fmt::print("{:24}{:>10.3f} s\n{:24}{:>10.1f} MB above the loaded model\n", "forward", forward_s, "memory (eap)", above);
  }
  return 0;
}

}  // namespace
}  // namespace microtome

int main(int argc, char** argv) {
  try {
    return microtome::run(microtome::parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "eap_bench: %s\n", e.what());
    return 1;
  }
}
