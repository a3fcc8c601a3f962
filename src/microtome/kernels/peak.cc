#include "microtome/kernels/peak.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/peak.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "hwy/highway.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/gemm_bf16.h"
#include "microtome/kernels/packed_layout.h"
#include "microtome/kernels/stored_formats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

constexpr int kChains = HWY_TARGET == HWY_AVX3 ? 16 : 12;

// `steps` multiply-adds on each of kChains independent chains; returns operations done. Values shrink to x = y / (1 - s).
double fma_chains(int64_t steps, float* sink) {
  const F32 d;
  const VF s = hn::Set(d, 0.5f), y = hn::Set(d, *sink);
  VF x[kChains];
  MT_UNROLL for (int i = 0; i < kChains; ++i) x[i] = hn::Set(d, static_cast<float>(i));
  for (int64_t step = 0; step < steps; ++step) {
    MT_UNROLL for (int i = 0; i < kChains; ++i) x[i] = hn::MulAdd(x[i], s, y);
  }
  VF sum = x[0];
  MT_UNROLL for (int i = 1; i < kChains; ++i) sum = hn::Add(sum, x[i]);
  *sink = hn::GetLane(hn::SumOfLanes(d, sum));
  return 2.0 * kChains * static_cast<double>(kLanes) * static_cast<double>(steps);
}

float read_all(const float* from, int64_t n) {
  const F32 d;
  constexpr int kAhead = 8;
  VF sum[kAhead];
  MT_UNROLL for (int i = 0; i < kAhead; ++i) sum[i] = hn::Zero(d);
  for (int64_t at = 0; at + kAhead * kLanes <= n; at += kAhead * kLanes) {
    MT_UNROLL for (int i = 0; i < kAhead; ++i) sum[i] = hn::Add(sum[i], hn::Load(d, from + at + i * kLanes));
  }
  VF total = sum[0];
  MT_UNROLL for (int i = 1; i < kAhead; ++i) total = hn::Add(total, sum[i]);
  return hn::GetLane(hn::SumOfLanes(d, total));
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {
namespace {

HWY_EXPORT(fma_chains);
HWY_EXPORT(read_all);

constexpr int kRuns = 12;
volatile float g_sink;

// The best rate of kRuns runs of fn(thread) on every thread; fn returns the work it did.
template <class Fn>
double best_rate(int threads, Fn&& fn) {
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    double work[64] = {};
    const auto begin = std::chrono::steady_clock::now();
    parallel_for(std::min(threads, 64), 1, [&](int64_t thread, int64_t) { work[thread] = fn(thread); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    double total = 0;
    for (const double w : work) total += w;
    best = std::max(best, total / seconds.count() * 1e-9);
  }
  return best;
}

struct FreeDeleter {
  void operator()(float* p) const { std::free(p); }
};

}  // namespace

double measure_fma_peak_gflops(int threads) {
  return best_rate(threads, [](int64_t) {
    float sink = 0.25f;
    const double operations = HWY_DYNAMIC_DISPATCH(fma_chains)(500000, &sink);
    g_sink = sink;
    return operations;
  });
}

double measure_bf16_peak_gflops(int threads) {
  if (!internal::bf16_products_supported()) return 0;
  return best_rate(threads, [](int64_t) { return internal::bf16_chains(500000); });
}

double measure_read_gb_s(int threads) {
  constexpr int64_t kFloats = 64 << 20;
  const std::unique_ptr<float, FreeDeleter> buffer(static_cast<float*>(std::aligned_alloc(4096, kFloats * sizeof(float))));
  if (buffer == nullptr) throw std::bad_alloc();
  std::fill_n(buffer.get(), kFloats, 1.0f);
  const int64_t share = kFloats / std::max(threads, 1) / 1024 * 1024;
  return best_rate(threads, [&](int64_t thread) {
    g_sink = HWY_DYNAMIC_DISPATCH(read_all)(buffer.get() + thread * share, share);
    return static_cast<double>(share) * sizeof(float);
  });
}

}  // namespace microtome
#endif
