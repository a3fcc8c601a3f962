// The walls that later work leans on: token trees with cache compaction, passes that start at a layer, forks, other value widths.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "microtome/base/rng.h"
#include "microtome/model/capture.h"
#include "microtome/model/model.h"
#include "microtome/tape/attention.h"

namespace microtome {
namespace {

std::shared_ptr<const Model> golden_model(const char* name) {
  return Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models" / name);
}

std::vector<int32_t> random_tokens(const Model& model, int64_t n, uint64_t seed) {
  const Philox rng(seed, "test tokens");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.below(model.config().vocab, i)));
  return ids;
}

Tensor all_logits(const Model& model, const Batch& batch) {
  Plan plan;
  plan.logit_rows = LogitRows::kAll;
  return forward(model, {.batch = batch, .plan = &plan}).logits.data.clone();
}

bool row_equals(const Tensor& a, int64_t row_a, const Tensor& b, int64_t row_b) {
  return std::memcmp(a.f32() + row_a * a.row_size(), b.f32() + row_b * b.row_size(), a.row_size() * sizeof(float)) == 0;
}

// Prefix 10, parents [-1, 0, 0, 1, 1, 2], accepted path [0, 2, 5]: the decoding specification's example (section 4.4).
TEST(TokenTree, every_node_has_the_bits_of_its_path_decoded_alone) {
  for (const char* name : {"llama_gqa_tied", "gpt2", "neox_parallel"}) {
    const auto model = golden_model(name);
    const auto prefix = random_tokens(*model, 10, 1), nodes = random_tokens(*model, 6, 2);
    const int parents[] = {-1, 0, 0, 1, 1, 2};
    KvCache cache = model->make_cache();
    Batch prompt;
    prompt.add_sequence(prefix, &cache);
    all_logits(*model, prompt);

    std::vector<std::vector<int>> paths(6);
    Batch tree;
    tree.add_sequence(nodes, &cache, 10);
    for (int i = 0; i < 6; ++i) {
      if (parents[i] >= 0) paths[i] = paths[parents[i]];
      paths[i].push_back(i);
      tree.positions[i] = static_cast<int32_t>(10 + paths[i].size() - 1);
      std::vector<int32_t> visible;
      for (int32_t p = 0; p < 10; ++p) visible.push_back(p);
      for (const int node : paths[i]) visible.push_back(10 + node);
      tree.visible.push_back(visible);
    }
    const KvCache before = cache.fork();
    const Tensor logits = all_logits(*model, tree);
    for (int i = 0; i < 6; ++i) {
      KvCache alone = before.fork();
      std::vector<int32_t> path;
      for (const int node : paths[i]) path.push_back(nodes[node]);
      Batch batch;
      batch.add_sequence(path, &alone, 10);
      const Tensor want = all_logits(*model, batch);
      EXPECT_TRUE(row_equals(logits, i, want, std::ssize(path) - 1)) << name << " node " << i;
    }

    // Accept [0, 2, 5]: slots 12 -> 11 and 15 -> 12, length 13; what follows has the bits of plain decoding.
    std::vector<int32_t> kept;
    for (int32_t p = 0; p < 10; ++p) kept.push_back(p);
    for (const int32_t node : {0, 2, 5}) kept.push_back(10 + node);
    cache.compact(kept);
    EXPECT_EQ(cache.length(), 13);
    EXPECT_EQ(cache.head(0, 0).positions(), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
    std::vector<int32_t> whole = prefix;
    for (const int node : {0, 2, 5}) whole.push_back(nodes[node]);
    whole.push_back(7);
    Batch next, plain;
    next.add_sequence(std::span(whole).last(1), &cache, 13);
    plain.add_sequence(whole);
    EXPECT_TRUE(row_equals(all_logits(*model, next), 0, all_logits(*model, plain), 13)) << name;
  }
}

TEST(Restart, a_pass_from_a_stored_stream_has_the_bits_of_the_whole_pass) {
  for (const char* name : {"llama_gqa_tied", "gpt2", "neox_serial", "attn_only_ln"}) {
    const auto model = golden_model(name);
    const auto ids = random_tokens(*model, 12, 3);
    KvCache cache = model->make_cache();
    Capture capture(1);
    Plan plan;
    capture.read(plan, {SiteKind::kResidPre, 1});
    plan.logit_rows = LogitRows::kAll;
    Batch batch;
    batch.add_sequence(ids, &cache);
    const Tensor want = forward(*model, {.batch = batch, .plan = &plan}).logits.data.clone();

    // Rows 5.. again, from layer 1 up: layers below are not touched, the host's keys before row 5 stand.
    const Tensor stream = capture.array({SiteKind::kResidPre, 1}).view({12, model->config().d_model});
    KvCache branch = cache.fork();
    branch.truncate(5, 1);
    Batch tail;
    tail.add_sequence(std::span(ids).subspan(5), &branch, 5);
    Plan all;
    all.logit_rows = LogitRows::kAll;
    const Tensor again =
        forward(*model, {.batch = tail, .plan = &all, .first_layer = 1, .residual = Value(stream.slice(5, 12).clone())})
            .logits.data;
    for (int64_t r = 0; r < 7; ++r) EXPECT_TRUE(row_equals(again, r, want, 5 + r)) << name << " row " << r;
    EXPECT_EQ(branch.length(0), 12);
    EXPECT_EQ(branch.length(1), 12);
  }
}

TEST(Cache, a_fork_is_independent_of_what_it_was_forked_from) {
  const auto model = golden_model("llama_gqa_tied");
  const auto ids = random_tokens(*model, 20, 4);
  KvCache cache = model->make_cache();
  Batch batch;
  batch.add_sequence(std::span(ids).first(10), &cache);
  all_logits(*model, batch);
  KvCache fork = cache.fork();
  Batch other, same;
  other.add_sequence(std::vector<int32_t>{1, 2, 3}, &fork, 10);
  all_logits(*model, other);
  same.add_sequence(std::span(ids).subspan(10), &cache, 10);
  Batch plain;
  plain.add_sequence(ids);
  const Tensor got = all_logits(*model, same), want = all_logits(*model, plain);
  for (int64_t r = 0; r < 10; ++r) EXPECT_TRUE(row_equals(got, r, want, 10 + r));
  cache.truncate(10);
  EXPECT_EQ(cache.length(), 10);
  EXPECT_EQ(fork.length(), 13);
}

TEST(Attention, values_may_be_wider_or_narrower_than_keys) {
  Arena arena;
  const OpContext ctx{arena, backend(Device::kCpu)};
  constexpr int64_t rows = 7, heads = 4, kv_heads = 2, d = 6;
  const Philox rng(5, "attention");
  for (const int64_t dv : {1, 3, 40}) {
    const auto random = [&](Shape shape, uint64_t lane) {
      Tensor t = Tensor::empty(shape);
      for (int64_t i = 0; i < t.numel(); ++i) t.f32()[i] = static_cast<float>(rng.normal(i, lane));
      return t;
    };
    const Tensor q = random({rows, heads, d}, 1), k = random({rows, kv_heads, d}, 2), v = random({rows, kv_heads, dv}, 3);
    auto layout = std::make_shared<AttentionLayout>();
    layout->n_heads = heads;
    layout->n_kv_heads = kv_heads;
    layout->shape = {d, dv, 0.5f, 0};
    SequenceRows s;
    s.row_end = s.n_slots = rows;
    std::vector<HeadCache> caches(kv_heads, HeadCache(d, dv));
    for (int64_t h = 0; h < kv_heads; ++h) {
      for (int64_t r = 0; r < rows; ++r)
        caches[h].append(k.f32() + (r * kv_heads + h) * d, v.f32() + (r * kv_heads + h) * dv, static_cast<int32_t>(r));
      s.heads.push_back({caches[h].key_blocks(), caches[h].value_blocks(), {}});
    }
    for (int32_t r = 0; r < rows; ++r) {
      s.own_slot.push_back(r);
      s.begin.push_back(0);
      s.end.push_back(r + 1);
    }
    layout->sequences.push_back(s);
    const Tensor z = fused_attention(nullptr, ctx, layout, q, k, v).data;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t g = h / (heads / kv_heads);
        std::vector<double> p(r + 1);
        double total = 0;
        for (int64_t j = 0; j <= r; ++j) {
          double dot = 0;
          for (int64_t i = 0; i < d; ++i)
            dot += static_cast<double>(q.f32()[(r * heads + h) * d + i]) * k.f32()[(j * kv_heads + g) * d + i];
          total += p[j] = std::exp(0.5 * dot);
        }
        for (int64_t i = 0; i < dv; ++i) {
          double want = 0;
          for (int64_t j = 0; j <= r; ++j) want += p[j] / total * v.f32()[(j * kv_heads + g) * dv + i];
          EXPECT_NEAR(z.f32()[(r * heads + h) * dv + i], want, 1e-5);
        }
      }
  }
}

TEST(LogitColumns, chosen_columns_have_the_bits_and_gradients_of_the_whole) {
  for (const char* name : {"llama_gqa_tied", "attn_only_ln"}) {
    const auto model = golden_model(name);
    Batch batch;
    batch.add_sequence(random_tokens(*model, 9, 7));
    const std::vector<int32_t> columns{70, 3, 11};
    Tensor gradients[2], logits[2];
    for (const bool chosen : {false, true}) {
      Plan plan;
      plan.logit_rows = LogitRows::kAll;
      if (chosen) plan.logit_columns = columns;
      plan.gradient({SiteKind::kResidPre, 0}, [&](const SiteValue& v) { gradients[chosen] = v.data.clone(); });
      Tape tape(model->context());
      const Forward f = forward(*model, {.batch = batch, .plan = &plan, .tape = &tape});
      logits[chosen] = f.logits.data.clone();
      // d/dx of the sum of the chosen logits.
      Tensor seed = Tensor::zeros(f.logits.data.shape());
      for (int64_t r = 0; r < 9; ++r)
        for (int64_t i = 0; i < 3; ++i) seed.f32()[r * seed.size(1) + (chosen ? i : columns[i])] = 1;
      tape.backward(f.logits, seed);
    }
    for (int64_t r = 0; r < 9; ++r)
      for (int64_t i = 0; i < 3; ++i)
        EXPECT_EQ(logits[1].f32()[r * 3 + i], logits[0].f32()[r * logits[0].size(1) + columns[i]]) << name;
    for (int64_t i = 0; i < gradients[0].numel(); ++i) EXPECT_NEAR(gradients[1].f32()[i], gradients[0].f32()[i], 1e-5) << name;
  }
}

TEST(EmptyPlan, asks_the_system_for_no_memory_once_warm) {
  const auto model = golden_model("llama_gqa_tied");
  Batch batch;
  batch.add_sequence(random_tokens(*model, 20, 6));
  const Plan empty;
  const auto pass = [&](const Plan* plan) { forward(*model, {.batch = batch, .plan = plan}); };
  pass(nullptr);
  pass(&empty);
  const int64_t before = model->arena().system_allocations();
  for (int i = 0; i < 10; ++i) pass(&empty);
  EXPECT_EQ(model->arena().system_allocations(), before);
}

}  // namespace
}  // namespace microtome
