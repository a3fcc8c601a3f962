// The same bits: whatever the chunks, the batch, the threads; reads and edits that change nothing; on every instruction set.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "microtome/api/commands.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/isa.h"
#include "microtome/model/capture.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

std::vector<int32_t> random_tokens(const Model& model, int64_t n, uint64_t seed) {
  const Philox rng(seed, "test tokens");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.below(model.config().vocab, i)));
  return ids;
}

// Logits of every row of one sequence, run through the cache in chunks.
std::vector<float> logits_in_chunks(const Model& model, const std::vector<int32_t>& ids, int64_t chunk, Plan* given = nullptr) {
  KvCache cache = model.make_cache();
  Plan own;
  Plan& plan = given ? *given : own;
  plan.logit_rows = LogitRows::kAll;
  std::vector<float> out;
  const int64_t n = std::ssize(ids);
  for (int64_t begin = 0; begin < n; begin += chunk) {
    Batch batch;
    batch.add_sequence(std::span(ids).subspan(begin, std::min(chunk, n - begin)), &cache, begin, n);
    const Tensor logits = forward(model, {.batch = batch, .plan = &plan}).logits.data;
    out.insert(out.end(), logits.f32(), logits.f32() + logits.numel());
  }
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Bits : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { model_ = Model::load(fs::path(MICROTOME_TEST_DATA) / "golden/models" / GetParam()); }
  void TearDown() override {
    set_isa("");
    set_num_threads(0);
  }
  std::shared_ptr<const Model> model_;
};

TEST_P(Bits, chunks_of_1_7_64_and_all_agree_on_every_instruction_set) {
  const auto ids = random_tokens(*model_, std::min<int64_t>(model_->config().context, 70), 1);
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    const auto whole = logits_in_chunks(*model_, ids, std::ssize(ids));
    for (const int64_t chunk : {1, 7, 64})
      EXPECT_TRUE(same_bits(whole, logits_in_chunks(*model_, ids, chunk))) << isa << " chunk " << chunk;
  }
}

TEST_P(Bits, one_and_two_threads_agree) {
  const auto ids = random_tokens(*model_, 23, 2);
  set_num_threads(1);
  const auto one = logits_in_chunks(*model_, ids, 23);
  set_num_threads(2);
  EXPECT_TRUE(same_bits(one, logits_in_chunks(*model_, ids, 23)));
}

TEST_P(Bits, a_sequence_alone_agrees_with_one_among_others) {
  const auto first = random_tokens(*model_, 5, 3), second = random_tokens(*model_, 21, 4), third = random_tokens(*model_, 12, 5);
  Batch batch;
  batch.add_sequence(first);
  batch.add_sequence(second);
  batch.add_sequence(third);
  Plan plan;
  plan.logit_rows = LogitRows::kAll;
  const Tensor logits = forward(*model_, {.batch = batch, .plan = &plan}).logits.data;
  const int64_t vocab = model_->config().vocab;
  const std::vector<float> among(logits.f32() + 5 * vocab, logits.f32() + 26 * vocab);
  EXPECT_TRUE(same_bits(logits_in_chunks(*model_, second, 21), among));
}

TEST_P(Bits, reading_a_site_or_replacing_it_by_its_own_value_changes_nothing) {
  const auto ids = random_tokens(*model_, 14, 6);
  const auto plain = logits_in_chunks(*model_, ids, 14);
  for (const Site& site : all_sites(model_->config())) {
    Capture capture(1);
    Plan reading;
    capture.read(reading, site);
    EXPECT_TRUE(same_bits(plain, logits_in_chunks(*model_, ids, 14, &reading))) << "reading " << site_name(site);
    Plan replacing;
    Edit edit;
    edit.site = site;
    edit.op = EditOp::kSet;
    edit.value = capture.array(site);
    replacing.edit(edit);
    EXPECT_TRUE(same_bits(plain, logits_in_chunks(*model_, ids, 14, &replacing))) << "replacing " << site_name(site);
  }
}

TEST_P(Bits, edits_agree_with_and_without_a_cache) {
  const auto ids = random_tokens(*model_, 12, 7);
  for (const Site& site : all_sites(model_->config())) {
    if (site_shape(site.kind) == SiteShape::kVocab) continue;
    Plan plan;
    Edit edit;
    edit.site = site;
    edit.op = EditOp::kScale;
    edit.factor = 0.5f;
    edit.where.pos = Range{-9, -2};
    plan.edit(edit);
    EXPECT_TRUE(same_bits(logits_in_chunks(*model_, ids, 12, &plan), logits_in_chunks(*model_, ids, 1, &plan)))
        << site_name(site);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Bits,
                         testing::Values("llama_gqa_tied", "llama3_scaled_bias", "gpt2", "neox_parallel", "neox_serial",
                                         "attn_only_ln", "attn_only_shortformer", "attn_only_rotary"));

}  // namespace
}  // namespace microtome
