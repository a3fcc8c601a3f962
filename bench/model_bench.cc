// A model end to end: forward, forward and backward, decoding, what looking costs; each beside the machine's ceiling, measured in
// turn with it in one run.
//
//   model_bench MODEL [--threads N] [--compute f32|bf16|native] [--tokens 512] [--json]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/isa.h"
#include "microtome/kernels/peak.h"
#include "microtome/model/capture.h"
#include "microtome/model/loss.h"

namespace microtome {
namespace {

struct Options {
  std::string model;
  int threads = 1;
  ComputeMode compute = ComputeMode::kF32;
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
    else if (arg == "--compute")
      o.compute = value[0] == 'b' ? ComputeMode::kBF16 : value[0] == 'n' ? ComputeMode::kNative : ComputeMode::kF32, ++i;
    else if (arg == "--json") o.json = true;
    else o.model = arg;
  }
  return o;
}

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class Fn>
double seconds(Fn&& fn) {
  const double start = now_s();
  fn();
  return now_s() - start;
}

std::vector<int32_t> random_tokens(const Model& model, int64_t n) {
  const Philox rng(0, "bench");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.below(model.config().vocab, i)));
  return ids;
}

// Multiply-adds of a forward over n rows, twice.
double forward_flop(const Model& model, int64_t n) {
  Weights w = model.weights();
  double macs = 0;
  for (const Matrix* m : w.matrices())
    if (m != &w.embed) macs += static_cast<double>(m->view.k) * static_cast<double>(m->view.n);
  const Config& c = model.config();
  const double attention = static_cast<double>(c.n_layers * c.n_heads * c.d_head) * static_cast<double>(n + 1);
  return 2 * static_cast<double>(n) * (macs + attention);
}

double decode_s(const Model& model, const std::vector<int32_t>& ids, int64_t steps, Plan* plan) {
  KvCache cache = model.make_cache();
  Batch prompt;
  prompt.add_sequence(std::span(ids).first(16), &cache);
  forward(model, {.batch = prompt, .plan = plan});
  return seconds([&] {
    for (int64_t i = 0; i < steps; ++i) {
      Batch batch;
      batch.add_sequence({&ids[16 + i], 1}, &cache, 16 + i);
      forward(model, {.batch = batch, .plan = plan});
    }
  });
}

nlohmann::ordered_json measure(const Options& o) {
  set_num_threads(o.threads);
  const auto model = Model::load(o.model, {.compute = o.compute});
  const std::vector<int32_t> ids = random_tokens(*model, std::max<int64_t>(o.tokens, 80));
  const std::vector<int32_t> prompt(ids.begin(), ids.begin() + o.tokens);
  Batch batch;
  batch.add_sequence(prompt);
  Plan all;
  all.logit_rows = LogitRows::kAll;
  const auto forward_pass = [&] { forward(*model, {.batch = batch, .plan = &all}); };
  const auto training_pass = [&] {
    Tape tape(model->context());
    const ParameterLeaves leaves(*model, tape);
    next_token_loss(*model, batch, forward(*model, {.batch = batch, .plan = &all, .tape = &tape, .parameters = &leaves}), &tape);
  };
  forward_pass();
  double peak = 0, forward_s = 1e30, training_s = 1e30, plain = 1e30, reading = 1e30;
  for (int round = 0; round < 7; ++round) {
    peak = std::max(peak,
                    o.compute == ComputeMode::kBF16 ? measure_bf16_peak_gflops(o.threads) : measure_fma_peak_gflops(o.threads));
    forward_s = std::min(forward_s, seconds(forward_pass));
    if (o.compute == ComputeMode::kF32 && round < 3) training_s = std::min(training_s, seconds(training_pass));
    Plan nothing, residuals;
    double sum = 0;
    for (int l = 0; l < model->config().n_layers; ++l)
      residuals.read({SiteKind::kResidPost, l}, [&sum, kept = Tensor()](const SiteValue& v) mutable {
        kept = v.data.clone();
        sum += kept.f32()[0];
      });
    plain = std::min(plain, decode_s(*model, ids, 48, &nothing));
    reading = std::min(reading, decode_s(*model, ids, 48, &residuals));
  }
  const double gflops = forward_flop(*model, o.tokens) / forward_s / 1e9;
  nlohmann::ordered_json out{{"threads", o.threads},
                             {"isa", current_isa()},
                             {"tokens", o.tokens},
                             {"peak_gflops", peak},
                             {"forward_s", forward_s},
                             {"forward_gflops", gflops},
                             {"forward_share_of_peak", gflops / peak},
                             {"decode_tokens_per_s", 48 / plain},
                             {"reading_every_residual", reading / plain - 1}};
  if (training_s < 1e29) out["forward_backward_s"] = training_s;
  return out;
}

}  // namespace
}  // namespace microtome

int main(int argc, char** argv) {
  const microtome::Options options = microtome::parse(argc, argv);
  if (options.model.empty()) {
    std::fprintf(stderr, "usage: model_bench MODEL [--threads N] [--compute f32|bf16|native] [--tokens N] [--json]\n");
    return 2;
  }
  try {
    const auto result = microtome::measure(options);
    if (options.json) {
      fmt::print("{}\n", result.dump());
    } else {
      for (const auto& [key, value] : result.items()) fmt::print("{:26} {}\n", key, value.dump());
    }
  } catch (const microtome::Error& e) {
    fmt::print(stderr, "model_bench: {}\n", e.what());
    return e.exit_code();
  }
  return 0;
}
