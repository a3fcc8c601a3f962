// What looking at every head costs: all attention detectors (previous, current, duplicate, induction, sink), with and without
// entropy, beside a plain forward of the same text, in turn in one run. The same from stored patterns, for comparison.
//
//   heads_bench MODEL [--threads N] [--tokens 512] [--json]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "microtome/base/threads.h"
#include "microtome/circuits/heads/attention_scores.h"

namespace microtome {
namespace {

constexpr int kRounds = 5;

struct Options {
  std::string model;
  int threads = 1;
  int64_t tokens = 512;
  bool json = false;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (arg == "--threads") o.threads = std::atoi(value), ++i;
    else if (arg == "--tokens") o.tokens = std::atoi(value), ++i;
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

void plain(const Model& model, const heads::ProbeText& text) {
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  Batch batch;
  batch.add_sequence(text.ids);
  forward(model, {.batch = batch, .plan = &plan});
}

void stored(const Model& model, const heads::ProbeText& text, const heads::ScoreOptions& options) {
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  for (int l = 0; l < model.config().n_layers; ++l)
    plan.read({SiteKind::kPattern, l}, [&](const SiteValue& v) { heads::attention_scores(v.data, text, options); });
  Batch batch;
  batch.add_sequence(text.ids);
  forward(model, {.batch = batch, .plan = &plan});
}

int run(const Options& o) {
  set_num_threads(o.threads);
  const auto model = Model::load(o.model);
  const heads::ProbeText text = heads::random_text(*model, {.block = o.tokens / 2});
  const heads::ScoreOptions mul{.measure = heads::Measure::kMul}, stripe{.measure = heads::Measure::kStripe};
  std::vector<double> best(5, 1e9);
  plain(*model, text);
  for (int round = 0; round < kRounds; ++round) {
    best[0] = std::min(best[0], seconds([&] { plain(*model, text); }));
    best[1] = std::min(best[1], seconds([&] { heads::attention_scores(*model, {{text}}, stripe); }));
    best[2] = std::min(best[2], seconds([&] { heads::attention_scores(*model, {{text}}, mul); }));
    best[3] = std::min(best[3], seconds([&] { heads::attention_scores(*model, {{text}}, mul, nullptr, true); }));
    best[4] = std::min(best[4], seconds([&] { stored(*model, text, mul); }));
  }
  const char* names[] = {"forward", "stripe", "mul", "mul_entropy", "stored_patterns"};
  if (o.json) {
    nlohmann::ordered_json out{{"tokens", text.length()}, {"threads", o.threads}};
    for (size_t i = 0; i < best.size(); ++i) out[names[i]] = {{"s", best[i]}, {"of_forward", best[i] / best[0]}};
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  std::printf("all attention detectors on %lld tokens, %d threads (best of %d)\n", static_cast<long long>(text.length()),
              o.threads, kRounds);
  for (size_t i = 0; i < best.size(); ++i)
    std::printf("  %-16s %8.1f ms  %5.2f x a forward\n", names[i], 1e3 * best[i], best[i] / best[0]);
  return 0;
}

}  // namespace
}  // namespace microtome

int main(int argc, char** argv) { return microtome::run(microtome::parse(argc, argv)); }
