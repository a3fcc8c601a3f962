// The arithmetic that a sweep saves, against the table of the circuits specification, section 7 (GPT-2 small, 15 tokens).
#include "microtome/circuits/sweep/cost.h"

#include <gtest/gtest.h>

#include <numeric>

namespace microtome::sweep {
namespace {

constexpr int64_t kTokens = 15;

Config gpt2_small() {
  Config c;
  c.n_layers = 12;
  c.d_model = 768;
  c.n_heads = c.n_kv_heads = 12;
  c.d_head = 64;
  c.d_mlp = 3072;
  c.vocab = 50257;
  c.gated_mlp = false;
  return c;
}

HostRun host() {
  std::vector<int32_t> tokens(kTokens);
  return {{tokens, {kTokens - 1}, {1, 2}}, KvCache(0, 0, 64, 64), {}, {}};
}

std::vector<int32_t> positions(int64_t begin, int64_t end) {
  std::vector<int32_t> out(end - begin);
  std::iota(out.begin(), out.end(), static_cast<int32_t>(begin));
  return out;
}

double giga(int64_t macs) { return static_cast<double>(macs) / 1e9; }

// Residual layer x position; rows before the first difference are the host's.
int64_t residual_sweep(int64_t first_difference) {
  const Config c = gpt2_small();
  const HostRun run = host();
  const Intervention none;
  int64_t total = 0;
  for (int l = 0; l < 12; ++l)
    for (auto p = static_cast<int32_t>(first_difference); p < kTokens; ++p) {
      const Item item{&none, 0, {.way = Way::kStream, .point = Point::kPre, .layer = l, .position = p}, &run};
      total += macs_onward(item, {p}, c);
    }
  return total;
}

// Every head's z at all positions.
int64_t head_sweep(int64_t first_difference) {
  const Config c = gpt2_small();
  const HostRun run = host();
  const Intervention none;
  int64_t total = 0;
  for (int l = 0; l < 12; ++l) {
    const Item item{&none, 0, {.way = Way::kHeads, .point = Point::kMid, .layer = l, .position = first_difference}, &run};
    const int64_t rows = kTokens - first_difference;
    total += 12 * (macs_onward(item, positions(first_difference, kTokens), c) + rows * c.d_head * c.d_model);
  }
  return total;
}

// z, q and pattern (one row changes) and k and v (every later row does) of every head and position.
int64_t position_sweep(int64_t first_difference) {
  const Config c = gpt2_small();
  const HostRun run = host();
  const Intervention none;
  int64_t total = 0;
  for (int l = 0; l < 12; ++l)
    for (int64_t p = first_difference; p < kTokens; ++p) {
      const Item item{&none, 0, {.way = Way::kHeads, .point = Point::kMid, .layer = l, .position = p}, &run};
      const int64_t update = c.d_head * c.d_model, later = kTokens - p;
      total += 12 * 3 * (macs_onward(item, positions(p, p + 1), c) + update);
      total += 12 * 2 * (macs_onward(item, positions(p, kTokens), c) + later * update);
    }
  return total;
}

TEST(SweepCost, plain_loop_is_the_tables) {
  const Config c = gpt2_small();
  const HostRun run = host();
  const Intervention none;
  const Item item{&none, 0, {}, &run};
  EXPECT_NEAR(giga(180 * plain_macs(item, c)), 333.5, 333.5 * 0.005);
  EXPECT_NEAR(giga(144 * plain_macs(item, c)), 266.8, 266.8 * 0.005);
}

TEST(SweepCost, residual_patching_needs_no_more_than_the_table) {
  EXPECT_LE(giga(residual_sweep(0)), 56.6 * 1.02);
  EXPECT_GE(giga(residual_sweep(0)), 56.6 * 0.9);
  EXPECT_LE(giga(residual_sweep(10)), 7.36 * 1.02);
}

TEST(SweepCost, head_patching_needs_no_more_than_the_table) {
  EXPECT_LE(giga(head_sweep(0)), 82.7 * 1.02);
  EXPECT_GE(giga(head_sweep(0)), 82.7 * 0.9);
  EXPECT_LE(giga(head_sweep(10)), 28.1 * 1.02);
}

TEST(SweepCost, patching_heads_by_position_needs_no_more_than_the_table) {
  EXPECT_LE(giga(position_sweep(0)), 3140 * 1.02);
  EXPECT_GE(giga(position_sweep(0)), 3140 * 0.9);
  EXPECT_LE(giga(position_sweep(10)), 410 * 1.02);
}

}  // namespace
}  // namespace microtome::sweep
