#include "microtome/circuits/sweep.h"

#include <gtest/gtest.h>

#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"

namespace microtome {
namespace {

const std::vector<std::string> kModels{"llama_gqa_tied",        "llama3_scaled_bias", "gpt2",
                                       "neox_parallel",         "neox_serial",        "attn_only_ln",
                                       "attn_only_shortformer", "attn_only_rotary"};

std::shared_ptr<const Model> load(const std::string& name) {
  return Model::load(std::string(MICROTOME_TEST_DATA) + "/golden/models/" + name);
}

std::vector<int32_t> random_tokens(const Model& model, int64_t n, uint64_t seed) {
  const Philox rng(seed, "tokens");
  std::vector<int32_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<int32_t>(rng.below(model.config().vocab, i)));
  return out;
}

// Two prompts of different lengths; the second asks for two rows and all columns.
std::vector<SweepHost> two_hosts(const Model& model) {
  return {{.tokens = random_tokens(model, 9, 1), .positions = {8}, .columns = {3, 1}},
          {.tokens = random_tokens(model, 6, 2), .positions = {2, 5}, .columns = {}}};
}

Tensor random_tensor(Shape shape, uint64_t seed) {
  const Philox rng(seed, "values");
  Tensor t = Tensor::empty(std::move(shape));
  for (int64_t i = 0; i < t.numel(); ++i) t.f32()[i] = static_cast<float>(rng.normal(i));
  return t;
}

// One of each operation at a site, on a slice that suits its shape.
std::vector<Edit> edits_at(const Site& site, const Config& c, int64_t position, uint64_t seed) {
  const SiteShape shape = site_shape(site.kind);
  const int64_t width = shape == SiteShape::kPattern ? position + 1 : site_width(shape, c);
  Slice one{.pos = Range{position, position + 1}};
  Slice all;
  Tensor value = random_tensor({width}, seed);
  if (shape == SiteShape::kPattern) {
    one.neuron = Range{0, width};
    for (int64_t i = 0; i < width; ++i) value.f32()[i] = std::abs(value.f32()[i]);
  }
  if (shape == SiteShape::kHeads || shape == SiteShape::kPattern || shape == SiteShape::kHeadStream) one.head = Range{1, 2};
  return {set_edit(site, one, value),
          add_edit(site, one, value, 0.5f),
          {.site = site, .where = all, .op = EditOp::kScale, .factor = 0.7f},
          zero_edit(site, one)};
}

double largest(const Tensor& t) {
  double m = 0;
  for (int64_t i = 0; i < t.numel(); ++i) m = std::max(m, std::abs(static_cast<double>(t.f32()[i])));
  return m;
}

double distance(const Tensor& a, const Tensor& b) {
  double m = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    m = std::max(m, std::abs(static_cast<double>(a.f32()[i]) - static_cast<double>(b.f32()[i])));
  return m;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.f32(), b.f32(), static_cast<size_t>(a.numel()) * sizeof(float)) == 0;
}

std::vector<Intervention> every_kind(const Model& model) {
  std::vector<Intervention> list;
  uint64_t seed = 10;
  for (const Site& site : all_sites(model.config())) {
    for (const int host : {0, 1})
      for (Edit& e : edits_at(site, model.config(), host == 0 ? 4 : 2, ++seed)) list.push_back({host, {std::move(e)}});
  }
  return list;
}

std::vector<Tensor> results_of(const Model& model, std::span<const Intervention> list, const SweepOptions& options,
                               SweepMacs* macs = nullptr) {
  Sweep sweep(model, two_hosts(model), options);
  std::vector<Tensor> out(list.size());
  sweep.run(list, [&](size_t i, const Tensor& logits) {
    EXPECT_FALSE(out[i].defined()) << "intervention " << i << " came twice";
    out[i] = logits.clone();
  });
  if (macs) *macs = sweep.macs();
  return out;
}

class SweepOnFamily : public testing::TestWithParam<std::string> {};

TEST_P(SweepOnFamily, equals_single_runs_at_every_site) {
  const auto model = load(GetParam());
  const auto hosts = two_hosts(*model);
  const auto list = every_kind(*model);
  const auto results = results_of(*model, list, {});
  for (size_t i = 0; i < list.size(); ++i) {
    const Tensor alone = run_alone(*model, hosts[list[i].host], list[i].edits);
    ASSERT_TRUE(results[i].defined());
    EXPECT_LE(distance(results[i], alone), 1e-5 * std::max(1.0, largest(alone)))
        << site_name(list[i].edits[0].site) << " edit " << i << " host " << list[i].host;
  }
}

TEST_P(SweepOnFamily, several_edits_in_several_layers_equal_single_runs) {
  const auto model = load(GetParam());
  const auto hosts = two_hosts(*model);
  const int last = static_cast<int>(model->config().n_layers) - 1;
  std::vector<Intervention> list;
  for (const int host : {0, 1})
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const Tensor z = random_tensor({model->config().d_head}, 100 + seed);
      list.push_back(
          {host,
           {set_edit({SiteKind::kZ, 0}, {.pos = Range{static_cast<int64_t>(seed % 4), 5}, .head = Range{0, 1}}, z),
            zero_edit({SiteKind::kZ, last}, {.head = Range{1, 2}}),
            add_edit({SiteKind::kResidPost, last}, {.pos = Range{2, 3}}, random_tensor({model->config().d_model}, seed))}});
      list.push_back(
          {host,
           {set_edit({SiteKind::kZ, last}, {.head = Range{0, 1}}, z), zero_edit({SiteKind::kZ, last}, {.head = Range{1, 2}})}});
    }
  const auto results = results_of(*model, list, {});
  for (size_t i = 0; i < list.size(); ++i) {
    const Tensor alone = run_alone(*model, hosts[list[i].host], list[i].edits);
    EXPECT_LE(distance(results[i], alone), 1e-5 * std::max(1.0, largest(alone))) << "intervention " << i;
  }
}

// The model that is swept may be one with edits in it, below, in and above the blocks that interventions change.
TEST_P(SweepOnFamily, base_edits_come_before_each_interventions_own) {
  const auto model = load(GetParam());
  const Config& c = model->config();
  const int last = static_cast<int>(c.n_layers) - 1;
  const auto hosts = two_hosts(*model);
  const std::vector<Edit> above{add_edit({SiteKind::kAttnOut, last}, {.pos = Range{1, 5}}, random_tensor({c.d_model}, 7))};
  const std::vector<Edit> below{add_edit({SiteKind::kResidPre, 0}, {.pos = Range{1, 5}}, random_tensor({c.d_model}, 8))};
  const std::vector<Edit> beyond{{.site = {SiteKind::kUnembedOut, -1}, .op = EditOp::kScale, .factor = 0.5f}};
  const auto list = every_kind(*model);
  for (const auto& base : {above, below, beyond}) {
    Sweep sweep(*model, hosts, {.edits = base});
    for (const int h : {0, 1}) EXPECT_LE(distance(sweep.host_logits(h), run_alone(*model, hosts[h], base)), 1e-6);
    sweep.run(list, [&](size_t i, const Tensor& logits) {
      std::vector<Edit> all = base;
      all.insert(all.end(), list[i].edits.begin(), list[i].edits.end());
      const Tensor alone = run_alone(*model, hosts[list[i].host], all);
      EXPECT_LE(distance(logits, alone), 1e-5 * std::max(1.0, largest(alone)))
          << site_name(list[i].edits[0].site) << " edit " << i;
    });
  }
}

TEST_P(SweepOnFamily, batch_split_does_not_matter) {
  const auto model = load(GetParam());
  const auto list = every_kind(*model);
  const auto together = results_of(*model, list, {.memory_gb = 1}), split = results_of(*model, list, {.memory_gb = 1e-7});
  for (size_t i = 0; i < list.size(); ++i) EXPECT_TRUE(same_bits(together[i], split[i])) << site_name(list[i].edits[0].site);
}

TEST_P(SweepOnFamily, whole_first_stream_gives_the_other_run_bit_for_bit) {
  const auto model = load(GetParam());
  const auto clean = random_tokens(*model, 9, 1);
  auto corrupted = clean;
  corrupted[5] = (corrupted[5] + 1) % static_cast<int32_t>(model->config().vocab);
  const SweepHost host{.tokens = corrupted, .positions = {8}, .columns = {}};
  const Tensor stream = values_at(*model, clean, std::array{Site{SiteKind::kResidPre, 0}})[0];
  const std::vector<Intervention> list{{0, {set_edit({SiteKind::kResidPre, 0}, {}, stream)}}, {0, {}}};
  Sweep sweep(*model, {host});
  std::vector<Tensor> results(2);
  sweep.run(list, [&](size_t i, const Tensor& logits) { results[i] = logits.clone(); });
  EXPECT_TRUE(same_bits(results[0], run_alone(*model, {clean, {8}, {}}, {})));
  EXPECT_TRUE(same_bits(results[1], run_alone(*model, host, {})));
  EXPECT_FALSE(same_bits(results[0], results[1]));
}

TEST_P(SweepOnFamily, executes_the_multiply_adds_that_it_planned) {
  const auto model = load(GetParam());
  std::vector<Intervention> list;
  for (const Intervention& i : every_kind(*model)) {
    const SiteKind k = i.edits[0].site.kind;
    // Heads' own inputs are projected head by head, results are summed: the formulas leave them out.
    if (site_in_block(k) && k != SiteKind::kAttnIn && k != SiteKind::kQInput && k != SiteKind::kKInput &&
        k != SiteKind::kVInput && k != SiteKind::kResult)
      list.push_back(i);
  }
  SweepMacs macs;
  results_of(*model, list, {}, &macs);
  EXPECT_EQ(macs.executed, macs.planned);
  EXPECT_LT(macs.executed, macs.plain);
}

INSTANTIATE_TEST_SUITE_P(Families, SweepOnFamily, testing::ValuesIn(kModels), [](const auto& p) { return p.param; });

TEST(Sweep, refuses_means_and_sites_that_the_model_lacks) {
  const auto model = load("attn_only_ln");
  Sweep sweep(*model, two_hosts(*model));
  const auto run = [&](Edit e) { sweep.run(std::vector<Intervention>{{0, {std::move(e)}}}, [](size_t, const Tensor&) {}); };
  EXPECT_THROW(run({.site = {SiteKind::kZ, 0}, .op = EditOp::kMean}), Error);
  EXPECT_THROW(run(zero_edit({SiteKind::kMlpPost, 0}, {})), Error);
}

}  // namespace
}  // namespace microtome
