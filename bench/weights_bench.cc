// Weight analysis of a model of GPT-2 small's shape with random weights: what the circuits specification sets targets for.
//
//   weights_bench [--threads N] [--json]
//
// copying      W_U W_E once, then the scores of 144 heads
// composition  Q, K and V of all 9,504 pairs
// ov_top       the largest 100 of a head's 50,257 × 50,257 OV table, beside the products alone (same blocks, and as whole rows)
// and
//              with the memory that it takes beyond the model's
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>

#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/composition.h"
#include "microtome/circuits/algebra/spectra.h"
#include "microtome/circuits/algebra/table_stream.h"

namespace microtome::algebra {
namespace {

constexpr int64_t kLayers = 12, kHeads = 12, kD = 768, kK = 64, kV = 50257;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class Fn>
double seconds(Fn&& fn) {
  const double start = now_s();
  fn();
  return now_s() - start;
}

// Least of a few runs: other programs only ever add to it.
template <class Fn>
double best_seconds(int runs, Fn&& fn) {
  double best = INFINITY;
  for (int i = 0; i < runs; ++i) best = std::min(best, seconds(fn));
  return best;
}

// Largest resident memory since the last reset, in bytes.
double peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return 1024.0 * std::atof(line.c_str() + 6);
  return 0;
}
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

Vocabulary random_vocabulary() {
  const Philox rng(0, "weights-bench");
  std::vector<float> e(kV * kD), u(kV * kD);
  parallel_for(kV * kD, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      e[i] = static_cast<float>(rng.uniform(i, 0) - 0.5);
      u[i] = static_cast<float>(rng.uniform(i, 1) - 0.5);
    }
  });
  return {std::move(e), std::move(u), kV, kD};
}

std::vector<HeadWeights> random_model() {
  std::vector<HeadWeights> heads(kLayers * kHeads);
  parallel_for(std::ssize(heads), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      heads[i] = random_head(kD, kK, 0, i);
      heads[i].id = {static_cast<int>(i / kHeads), static_cast<int>(i % kHeads)};
    }
  });
  return heads;
}

// The products of a table without a search: by the same blocks, and by whole rows outside of any loop.
double blocks_alone(const TokenTable& t) {
  return best_seconds(2, [&] { stream_table(t, nullptr, [](const TableBlock&) {}); });
}
double rows_alone(const TokenTable& t) {
  constexpr int64_t kRows = 512;
  std::vector<float> c(kRows * kV);
  return best_seconds(2, [&] {
    for (int64_t row = 0; row < t.rows(); row += kRows)
      gemm(t.left.f32() + row * kK, std::min(kRows, t.rows() - row), t.right.view, c.data());
  });
}

nlohmann::json measure() {
  const std::vector<HeadWeights> heads = random_model();
  const Vocabulary vocabulary = random_vocabulary();
  MatrixF64 gram;
  const double gram_s = best_seconds(2, [&] { gram = vocabulary.gram_copying(); });
  const double copying_s = best_seconds(2, [&] { copying(heads, gram); });
  const CompositionKind kinds[] = {CompositionKind::kQ, CompositionKind::kK, CompositionKind::kV};
  size_t pairs = 0;
  const double composition_s = best_seconds(2, [&] { pairs = composition(heads, heads, kinds).size() / 3; });
  reset_peak();
  const double before = peak_bytes();
  TokenTable table;
  const double top_s = best_seconds(2, [&] {
    table = ov_table(heads[100], vocabulary);
    top_pairs(table, 100);
  });
  const double memory = peak_bytes() - before;
  const double blocks_s = blocks_alone(table), rows_s = rows_alone(table);
  return {{"threads", num_threads()},
          {"gram_s", gram_s},
          {"copying_144_heads_s", copying_s},
          {"composition_pairs", pairs},
          {"composition_s", composition_s},
          {"ov_top_s", top_s},
          {"ov_products_s", std::min(blocks_s, rows_s)},
          {"ov_products_blocks_s", blocks_s},
          {"ov_products_rows_s", rows_s},
          {"ov_top_ratio", top_s / std::min(blocks_s, rows_s)},
          {"ov_top_memory_bytes", memory}};
}

}  // namespace
}  // namespace microtome::algebra

int main(int argc, char** argv) {
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--threads" && i + 1 < argc) microtome::set_num_threads(std::atoi(argv[++i]));
    else if (arg == "--json") json = true;
  }
  const nlohmann::json r = microtome::algebra::measure();
  if (json) {
    fmt::print("{}\n", r.dump());
    return 0;
  }
  fmt::print("weights of GPT-2 small's shape, {} threads\n", r["threads"].get<int>());
  fmt::print("copying      W_U W_E {:.2f} s, then 144 heads {:.2f} s\n", r["gram_s"].get<double>(),
             r["copying_144_heads_s"].get<double>());
  fmt::print("composition  {} pairs, three kinds: {:.2f} s\n", r["composition_pairs"].get<int64_t>(),
             r["composition_s"].get<double>());
  fmt::print("OV top 100   {:.2f} s, its products alone {:.2f} s: {:.2f} times; {:.0f} MB beyond the model\n",
             r["ov_top_s"].get<double>(), r["ov_products_s"].get<double>(), r["ov_top_ratio"].get<double>(),
             r["ov_top_memory_bytes"].get<double>() / 1e6);
  return 0;
}
