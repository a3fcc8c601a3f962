#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/isa.h"
#include "microtome/kernels/peak.h"
#include "microtome/model/capture.h"

namespace microtome::api {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Best of `repeats`: what the machine can do when nothing disturbs it.
template <class Fn>
double best_time(int repeats, Fn&& fn) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const double start = now_s();
    fn();
    best = std::min(best, now_s() - start);
  }
  return best;
}

std::vector<int32_t> random_tokens(const Model& model, int64_t n) {
  const Philox rng(0, "bench");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.below(model.config().vocab, i)));
  return ids;
}

double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double total = 0, resident = 0;
  file >> total >> resident;
  return resident * 4096;
}

// 512 x 768 x 3072, the shape that the speed targets name.
double gemm_gflops(int repeats) {
  constexpr int64_t m = 512, k = 768, n = 3072;
  Tensor a = Tensor::zeros({m, k}), b = Tensor::zeros({k, n}), c = Tensor::empty({m, n});
  Tensor packed = Tensor::empty({packed_bytes(PackedFormat::kF32, k, n)}, Arena::global(), DType::kU8);
  std::byte* data = reinterpret_cast<std::byte*>(packed.u8());
  for (int64_t i = 0; i < a.numel(); ++i) a.f32()[i] = static_cast<float>(i % 7) - 3;
  for (int64_t i = 0; i < b.numel(); ++i) b.f32()[i] = static_cast<float>(i % 5) - 2;
  pack_plain(PackedFormat::kF32, b.f32(), k, n, n, 1, data);
  const double s = best_time(repeats, [&] { gemm(a.f32(), m, {PackedFormat::kF32, k, n, data}, c.f32()); });
  return 2.0 * m * k * n / s / 1e9;
}

double prefill_s(const Model& model, const std::vector<int32_t>& ids, LogitRows rows, int repeats, Plan plan = {}) {
  plan.logit_rows = rows;
  return best_time(repeats, [&] {
    Batch batch;
    batch.add_sequence(ids);
    forward(model, {.batch = batch, .plan = &plan});
  });
}

double decode_tokens_per_s(const Model& model, int64_t context, int64_t steps) {
  const std::vector<int32_t> ids = random_tokens(model, context + steps);
  KvCache cache = model.make_cache();
  Batch prompt;
  prompt.add_sequence(std::span(ids).first(context), &cache);
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  forward(model, {.batch = prompt, .plan = &plan});
  const double start = now_s();
  for (int64_t i = 0; i < steps; ++i) {
    Batch batch;
    batch.add_sequence({&ids[context + i], 1}, &cache, context + i);
    forward(model, {.batch = batch});
  }
  return static_cast<double>(steps) / (now_s() - start);
}

const char* compute_name(ComputeMode mode) {
  switch (mode) {
    case ComputeMode::kBF16: return "bf16";
    case ComputeMode::kNative: return "native";
    default: return "f32";
  }
}

}  // namespace

Json bench(const Context& context, const BenchOptions& options, double load_s) {
  const Model& model = *context.model;
  const int repeats = options.quick ? 1 : 5;
  const int64_t most = model.config().context;
  const auto step = [&](const char* what) {
    if (context.progress) context.progress->begin(what, 0), context.progress->step();
  };
  Json prefill = Json::array(), decode = Json::array();
  step("machine");
  const double rss = resident_bytes();
  const double peak = measure_fma_peak_gflops(num_threads()), gemm_speed = gemm_gflops(4 * repeats);
  const double read = measure_read_gb_s(num_threads());
  for (const int64_t n : {16, 128, 512}) {
    if (n > most) continue;
    step("prefill");
    prefill.push_back({{"tokens", n}, {"s", prefill_s(model, random_tokens(model, n), LogitRows::kAll, repeats)}});
  }
  for (const int64_t n : {16, 512, 2048}) {
    if (n + 32 > most || (options.quick && n > 16)) continue;
    step("decode");
    decode.push_back({{"context", n}, {"tokens_per_s", decode_tokens_per_s(model, n, options.quick ? 8 : 32)}});
  }
  step("trace");
  const std::vector<int32_t> ids = random_tokens(model, std::min<int64_t>(64, most));
  const double trace_all = best_time(repeats, [&] {
    Plan plan;
    Capture capture(1);
    for (const Site& site : all_sites(model.config())) capture.read(plan, site);
    Batch batch;
    batch.add_sequence(ids);
    forward(model, {.batch = batch, .plan = &plan});
  });
  if (context.progress) context.progress->end();
  return {{"model", context.name},
          {"threads", num_threads()},
          {"isa", current_isa()},
          {"compute", compute_name(model.compute_mode())},
          {"gemm", gemm_description()},
          {"gemm_gflops", gemm_speed},
          {"peak_gflops", peak},
          {"read_gb_s", read},
          {"prefill", prefill},
          {"decode", decode},
          {"trace_all_s", trace_all},
          {"trace_tokens", ids.size()},
          {"load_s", load_s},
          {"weight_bytes", model.weight_bytes()},
          {"rss_bytes", rss}};
}

}  // namespace microtome::api
