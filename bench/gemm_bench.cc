// Products against this machine's own ceilings: kernel and peak take turns within one run, so that their ratio holds on a
// machine that is busy or throttles; the best of each is kept.
//
//   gemm_bench [--threads N] [--isa NAME] [--quick] [--json]
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "microtome/base/threads.h"
#include "microtome/kernels/gemm.h"
#include "microtome/kernels/isa.h"
#include "microtome/kernels/packed_matrix.h"
#include "microtome/kernels/peak.h"

namespace microtome {
namespace {

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<std::byte, FreeDeleter>;

Bytes allocate(int64_t n) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t bytes = (static_cast<size_t>(n) + kHugePage - 1) / kHugePage * kHugePage;
  Bytes memory(static_cast<std::byte*>(std::aligned_alloc(kHugePage, bytes)));
  madvise(memory.get(), bytes, MADV_HUGEPAGE);
  return memory;
}

std::vector<float> random_floats(int64_t n) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = uniform(generator);
  return values;
}

// Packed values that are ordinary numbers in every format: scales near one, any quantised value.
struct Matrix {
  Matrix(PackedFormat format, int64_t k, int64_t n)
      : bytes(allocate(packed_bytes(format, k, n))), view{format, k, n, bytes.get()} {
    const int64_t size = packed_bytes(format, k, n);
    std::mt19937 generator(2);
    if (format == PackedFormat::kF32) {
      auto* values = reinterpret_cast<float*>(bytes.get());
      for (int64_t i = 0; i < size / 4; ++i) values[i] = static_cast<float>(generator() % 2001) * 1e-3f - 1;
    } else {
      for (int64_t i = 0; i < size; ++i) bytes.get()[i] = static_cast<std::byte>(generator() % 0x3f);
    }
  }
  Bytes bytes;
  PackedView view;
};

// Seconds of processor time on one thread, so that other programs' turns do not count; of real time on several.
double seconds_now() {
  timespec now;
  clock_gettime(num_threads() == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double seconds_of(const auto& fn) {
  const double begin = seconds_now();
  fn();
  return seconds_now() - begin;
}

struct Options {
  int threads = 0;
  bool json = false, quick = false;
};

void report(const Options& options, const std::string& name, double value, const std::string& unit) {
  if (options.json) {
    fmt::print("{{\"name\":\"{}\",\"value\":{:.6g},\"unit\":\"{}\"}}\n", name, value, unit);
  } else {
    fmt::print("{:<64} {:>10.3f} {}\n", name, value, unit);
  }
  std::fflush(stdout);
}

// One shape against the peak of its type, in turns.
void against_peak(const Options& options, Compute compute, GemmImplementation implementation, int64_t m, int64_t k, int64_t n) {
  const bool bf16 = compute == Compute::kBF16;
  const auto peak_of = [&] {
    return bf16 ? measure_bf16_peak_gflops(options.threads) : measure_fma_peak_gflops(options.threads);
  };
  if (peak_of() == 0) return;
  const Matrix b(bf16 ? PackedFormat::kBF16 : PackedFormat::kF32, k, n);
  const std::vector<float> a = random_floats(m * k);
  std::vector<float> c(static_cast<size_t>(m * n));
  set_gemm_implementation(implementation);
  double peak = 0, best = 1e9;
  for (int round = 0; round < (options.quick ? 3 : 10); ++round) {
    peak = std::max(peak, peak_of());
    for (int i = 0; i < 5; ++i) best = std::min(best, seconds_of([&] { gemm(a.data(), m, b.view, c.data(), compute); }));
  }
  const double rate = 2.0 * static_cast<double>(m * k * n) / best * 1e-9;
  const std::string name = fmt::format("{} {} {}x{}x{}", bf16 ? "bf16" : "f32",
                                       implementation == GemmImplementation::kOneDnn ? "default" : "own", m, k, n);
  report(options, name, rate, "GFLOP/s");
  report(options, name + ", of peak " + fmt::format("{:.1f}", peak), 100 * rate / peak, "%");
  set_gemm_implementation(GemmImplementation::kOneDnn);
}

// Stored weights and plain matrices (gradients) at many rows, against the f32 peak.
void widened_against_peak(const Options& options, int64_t m, int64_t k, int64_t n) {
  const Matrix quantised(PackedFormat::kQ4_1, k, n);
  const std::vector<float> a = random_floats(m * k), plain = random_floats(k * n);
  std::vector<float> c(static_cast<size_t>(m * n));
  double peak = 0, best[2] = {1e9, 1e9};
  for (int round = 0; round < (options.quick ? 3 : 10); ++round) {
    peak = std::max(peak, measure_fma_peak_gflops(options.threads));
    for (int i = 0; i < 3; ++i) {
      best[0] = std::min(best[0], seconds_of([&] { gemm(a.data(), m, quantised.view, c.data()); }));
      best[1] = std::min(best[1], seconds_of([&] { gemm_plain(a.data(), plain.data(), c.data(), m, k, n); }));
    }
  }
  for (int i = 0; i < 2; ++i) {
    const double rate = 2.0 * static_cast<double>(m * k * n) / best[i] * 1e-9;
    report(options, fmt::format("{} {}x{}x{}, of peak {:.1f}", i == 0 ? "Q4_1" : "plain f32", m, k, n, peak), 100 * rate / peak,
           "%");
  }
}

// All products of one token of the 135M-parameter Llama (30 layers, width 576, vocabulary 49152), m tokens at a time.
struct Model {
  Model(PackedFormat layers, PackedFormat head) {
    constexpr int64_t kShapes[][2] = {{576, 576}, {576, 192}, {576, 192}, {576, 576}, {576, 1536}, {576, 1536}, {1536, 576}};
    for (int layer = 0; layer < 30; ++layer) {
      for (const auto& s : kShapes) matrices.emplace_back(layers, s[0], s[1]);
    }
    matrices.emplace_back(head, 576, 49152);
  }
  std::vector<Matrix> matrices;
};

void rows_curve(const Options& options, const std::string& name, PackedFormat layers, PackedFormat head, Compute compute) {
  const Model model(layers, head);
  const std::vector<float> a = random_floats(16 * 1536);
  std::vector<float> c(16 * 49152);
  std::vector<int64_t> rows = {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16};
  std::vector<double> best(rows.size(), 1e9);
  for (int round = 0; round < (options.quick ? 2 : 6); ++round) {
    for (size_t i = 0; i < rows.size(); ++i) {
      best[i] = std::min(best[i], seconds_of([&] {
                           for (const Matrix& b : model.matrices) gemm(a.data(), rows[i], b.view, c.data(), compute);
                         }));
    }
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    report(options, fmt::format("135M {} products, {} rows (t/t(1) {:.2f})", name, rows[i], best[i] / best[0]), best[i] * 1e3,
           "ms");
  }
}

// Loading that model's Q4_1 tensors: columns of the file's blocks to panels, in parallel over panels.
void packing(const Options& options, PackedFormat format) {
  constexpr int64_t kK = 576, kPanels = 135000000 / (kK * kPanelWidth);
  const int64_t column_bytes = dtype_bytes(DType::kQ4_1, kK), panel_bytes = packed_panel_bytes(format, kK);
  std::vector<std::byte> file(static_cast<size_t>(kPanels * kPanelWidth * column_bytes), std::byte{0x21});
  const Bytes packed = allocate(kPanels * panel_bytes);
  double first = 0, best = 1e9;
  for (int round = 0; round < 4; ++round) {
    const double seconds = seconds_of([&] {
      parallel_for(kPanels, 1, [&](int64_t panel, int64_t) {
        const std::byte* columns[kPanelWidth];
        for (int64_t c = 0; c < kPanelWidth; ++c) columns[c] = file.data() + (panel * kPanelWidth + c) * column_bytes;
        pack_panel(format, DType::kQ4_1, columns, kK, packed.get() + panel * panel_bytes);
      });
    });
    if (round == 0) first = seconds;
    best = std::min(best, seconds);
  }
  const std::string name = std::string("packing 135M values of Q4_1 as ") + packed_format_name(format);
  report(options, name + ", first touch", first * 1e3, "ms");
  report(options, name + ", again", best * 1e3, "ms");
}

void run(const Options& options) {
  if (!options.json) fmt::print("{} threads, {}; {}\n", options.threads, current_isa(), gemm_description());
  report(options, "memory read", measure_read_gb_s(options.threads), "GB/s");
  for (const auto implementation : {GemmImplementation::kOneDnn, GemmImplementation::kHighway}) {
    for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
      against_peak(options, compute, implementation, 512, 768, 3072);
      if (options.quick) continue;
      against_peak(options, compute, implementation, 512, 576, 576);
      against_peak(options, compute, implementation, 512, 1536, 576);
      against_peak(options, compute, implementation, 63, 576, 1536);
    }
  }
  widened_against_peak(options, 512, 768, 3072);
  if (!options.quick) widened_against_peak(options, 64, 576, 1536);
  packing(options, PackedFormat::kF32);
  packing(options, PackedFormat::kQ4_1);
  rows_curve(options, "Q4_1 (head Q8_0)", PackedFormat::kQ4_1, PackedFormat::kQ8_0, Compute::kF32);
  rows_curve(options, "f32", PackedFormat::kF32, PackedFormat::kF32, Compute::kF32);
  rows_curve(options, "bf16", PackedFormat::kBF16, PackedFormat::kBF16, Compute::kBF16);
}

}  // namespace
}  // namespace microtome

int main(int argc, char** argv) {
  microtome::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") options.json = true;
    else if (argument == "--quick") options.quick = true;
    else if (argument == "--threads" && i + 1 < argc) options.threads = std::atoi(argv[++i]);
    else if (argument == "--isa" && i + 1 < argc && microtome::set_isa(argv[i + 1])) ++i;
    else return std::fprintf(stderr, "usage: gemm_bench [--threads N] [--isa NAME] [--quick] [--json]\n"), 2;
  }
  microtome::set_num_threads(options.threads);
  options.threads = microtome::num_threads();
  microtome::run(options);
  return 0;
}
