// A circuit that was put there is found, and nothing else is: one head carries each token one position on, a later one carries
// what arrived at position 3 to the end, all others write where nobody reads.
#include <gtest/gtest.h>

#include <deque>
#include <fstream>

#include "../formats/temp_folder.h"
#include "microtome/circuits/patching/attribution.h"
#include "microtome/circuits/patching/head_pairs.h"
#include "microtome/circuits/patching/paths.h"
#include "microtome/formats/safetensors.h"
#include "patching_support.h"

namespace microtome {
namespace {

using namespace patching_support;

constexpr int64_t kVocab = 8, kHeads = 3, kHead = 8, kLayers = 2, kWidth = 40, kLength = 7;
// Parts of the stream, 8 wide: the token, the position, the token carried on, the answer, and where random heads write.
constexpr int64_t kToken = 0, kPosition = 8, kCarried = 16, kAnswer = 24, kJunk = 32;

class PlantedWeights {
 public:
  explicit PlantedWeights(uint64_t seed) : rng_(seed, "planted circuit") {}

  std::vector<float>& zeros(const std::string& name, Shape shape) {
    names_.push_back(name);
    shapes_.push_back(shape);
    values_.emplace_back(static_cast<size_t>(numel(shape)), 0.0f);
    return values_.back();
  }
  float normal(float scale) { return scale * static_cast<float>(rng_.normal(drawn_++)); }

  std::shared_ptr<const Model> load() const {
    TempFolder folder;
    std::ofstream(folder / "config.json")
        << R"({"model_type": "attn_only", "n_layers": 2, "d_model": 40, "n_heads": 3, "d_head": 8, "vocab": 8, "context": 8,
               "normalization": null, "positions": "standard"})";
    std::vector<CheckpointTensor> tensors;
    for (size_t i = 0; i < names_.size(); ++i)
      tensors.push_back({names_[i], DType::kF32, shapes_[i], std::as_bytes(std::span(values_[i]))});
    write_safetensors(folder / "model.safetensors", tensors);
    return Model::load(folder.path());
  }

 private:
  Philox rng_;
  uint64_t drawn_ = 0;
  std::vector<std::string> names_;
  std::vector<Shape> shapes_;
  std::deque<std::vector<float>> values_;
};

// W_Q, W_K, W_V [H, D, K], W_O [H, K, D] of one layer; `planted` head attends from position p to target(p) and copies 8 values.
void add_layer(PlantedWeights& w, int64_t layer, int64_t planted, int64_t (*target)(int64_t), int64_t from, int64_t to) {
  const std::string a = fmt::format("blocks.{}.attn.", layer);
  std::vector<float>*q = &w.zeros(a + "W_Q", {kHeads, kWidth, kHead}), *k = &w.zeros(a + "W_K", {kHeads, kWidth, kHead}),
  *v = &w.zeros(a + "W_V", {kHeads, kWidth, kHead}), *o = &w.zeros(a + "W_O", {kHeads, kHead, kWidth});
  for (int64_t h = 0; h < kHeads; ++h) {
    const auto in = [&](std::vector<float>* m, int64_t d, int64_t i) -> float& { return (*m)[(h * kWidth + d) * kHead + i]; };
    const auto out = [&](int64_t i, int64_t d) -> float& { return (*o)[(h * kHead + i) * kWidth + d]; };
    if (h == planted) {
      for (int64_t p = 0; p < 8; ++p) {
        in(q, kPosition + p, target(p)) = 100;
        in(k, kPosition + p, p) = 1;
        in(v, from + p, p) = 1;
        out(p, to + p) = 1;
      }
      continue;
    }
    for (int64_t d = 0; d < kWidth; ++d)
      for (int64_t i = 0; i < kHead; ++i)
        for (auto* m : {q, k, v}) in(m, d, i) = w.normal(0.7f);
    for (int64_t i = 0; i < kHead; ++i)
      for (int64_t d = kJunk; d < kWidth; ++d) out(i, d) = w.normal(0.7f);
  }
}

std::shared_ptr<const Model> planted_model(uint64_t seed) {
  PlantedWeights w(seed);
  std::vector<float>& embed = w.zeros("embed.W_E", {kVocab, kWidth});
  for (int64_t t = 0; t < kVocab; ++t) embed[t * kWidth + kToken + t] = 1;
  std::vector<float>& positions = w.zeros("pos_embed.W_pos", {8, kWidth});
  for (int64_t p = 0; p < 8; ++p) positions[p * kWidth + kPosition + p] = 1;
  add_layer(
      w, 0, 1, [](int64_t p) { return std::max<int64_t>(0, p - 1); }, kToken, kCarried);
  add_layer(
      w, 1, 0, [](int64_t) { return int64_t{3}; }, kCarried, kAnswer);
  std::vector<float>& unembed = w.zeros("unembed.W_U", {kWidth, kVocab});
  for (int64_t t = 0; t < kVocab; ++t) unembed[(kAnswer + t) * kVocab + t] = 1;
  return w.load();
}

// The token at position 2 is the answer; everything else is random, and the same on both sides.
std::vector<Example> planted_pairs() {
  std::vector<Example> out;
  const Philox rng(5, "planted pairs");
  for (size_t s = 0; s < 4; ++s) {
    Example e;
    for (int64_t t = 0; t < kLength; ++t) e.clean.push_back(static_cast<int32_t>(rng.below(kVocab, t, s)));
    e.corrupted = e.clean;
    e.corrupted[2] = static_cast<int32_t>((e.clean[2] + 1 + rng.below(kVocab - 1, 20, s)) % kVocab);
    e.answers = {e.clean[2]};
    e.wrong = {e.corrupted[2]};
    out.push_back(std::move(e));
  }
  return out;
}

// Which cells have an effect (more than 1e-5), as layer, head, position; all that do are 1.
std::vector<std::tuple<int64_t, int64_t, int64_t>> found(PatchRuns& runs, SiteKind site, const char* by, PatchMethod method) {
  const CellGrid grid = make_grid(runs.config(), site, parse_axes(by), {}, kLength);
  const EffectMap map =
      summarise(method == PatchMethod::kExact ? patch_exact(runs, grid, {}) : attribute(runs, grid, {}, method), 0);
  const double none = runs.setup().direction == PatchDirection::kDenoise ? 0 : 1;
  std::vector<std::tuple<int64_t, int64_t, int64_t>> out;
  for (size_t c = 0; c < grid.size(); ++c) {
    if (std::isnan(map.value[c]) || std::abs(map.value[c] - none) < 1e-5) continue;
    EXPECT_NEAR(map.value[c], 1 - none, 1e-5);
    const Cell cell = grid.cell(c);
    out.emplace_back(cell.layer, cell.head.value_or(-1), cell.pos.value_or(-1));
  }
  return out;
}

using Places = std::vector<std::tuple<int64_t, int64_t, int64_t>>;

TEST(PlantedCircuit, is_found_at_every_site_and_no_false_part_is) {
  for (const uint64_t seed : {1, 2, 3}) {
    const auto model = planted_model(seed);
    for (const PatchDirection direction : {PatchDirection::kDenoise, PatchDirection::kNoise})
      for (const PatchMethod method : {PatchMethod::kExact, PatchMethod::kAtp}) {
        PatchRuns runs(*model, {.examples = planted_pairs(), .direction = direction});
        EXPECT_NEAR(runs.clean()[0], 1, 1e-5);
        EXPECT_NEAR(runs.corrupted()[0], -1, 1e-5);
        EXPECT_EQ(found(runs, SiteKind::kZ, "layer,head", method), (Places{{0, 1, -1}, {1, 0, -1}}));
        EXPECT_EQ(found(runs, SiteKind::kZ, "layer,head,pos", method), (Places{{0, 1, 3}, {1, 0, 6}}));
        EXPECT_EQ(found(runs, SiteKind::kV, "layer,head,pos", method), (Places{{0, 1, 2}, {1, 0, 3}}));
        EXPECT_EQ(found(runs, SiteKind::kResidPre, "layer,pos", method), (Places{{0, -1, 2}, {1, -1, 3}}));
        EXPECT_EQ(found(runs, SiteKind::kResidPost, "layer,pos", method), (Places{{0, -1, 3}, {1, -1, 6}}));
        EXPECT_EQ(found(runs, SiteKind::kAttnOut, "layer,pos", method), (Places{{0, -1, 3}, {1, -1, 6}}));
        for (const SiteKind site : {SiteKind::kQ, SiteKind::kK, SiteKind::kPattern})
          EXPECT_EQ(found(runs, site, "layer,head", method), Places{}) << "where the heads look does not depend on the tokens";
      }
  }
}

TEST(PlantedCircuit, is_the_only_path) {
  const auto model = planted_model(1);
  PatchRuns runs(*model, {.examples = planted_pairs()});
  const auto senders = parse_senders("all", model->config());
  const auto receivers = parse_receivers("a0.h1<v>,a0.h1<q>,a1.h0<v>,a1.h0<k>,a1.h0<q>,a1.h1<v>,logits", model->config());
  const EffectMap map = summarise(patch_paths(runs, senders, receivers), 0);
  std::vector<std::string> edges;
  for (size_t s = 0; s < senders.size(); ++s)
    for (size_t r = 0; r < receivers.size(); ++r)
      if (std::abs(map.value[s * receivers.size() + r]) > 1e-5) edges.push_back(senders[s].name + "->" + receivers[r][0].name);
  EXPECT_EQ(edges, (std::vector<std::string>{"input->a0.h1<v>", "a0.h1->a1.h0<v>", "a1.h0->logits"}));
}

TEST(PlantedCircuit, is_found_by_zero_and_by_mean_ablation_and_a_chain_is_not_a_backup) {
  const auto model = planted_model(2);
  PatchRuns runs(*model, {.examples = planted_pairs(), .direction = PatchDirection::kNoise});
  const CellGrid grid = make_grid(model->config(), SiteKind::kZ, parse_axes("layer,head"), {}, kLength);
  for (const ReplacementKind kind : {ReplacementKind::kZero, ReplacementKind::kMean}) {
    const EffectMap map = summarise(patch_exact(runs, grid, {.kind = kind}), 0);
    for (size_t c = 0; c < grid.size(); ++c) {
      const Cell cell = grid.cell(c);
      const bool planted = (cell.layer == 0 && cell.head == 1) || (cell.layer == 1 && cell.head == 0);
      EXPECT_EQ(std::abs(map.value[c] - 1) > 0.2, planted) << cell.layer << "." << *cell.head;
      if (!planted) {
        EXPECT_NEAR(map.value[c], 1, 1e-5);
      } else if (kind == ReplacementKind::kZero) {
        EXPECT_NEAR(map.value[c], 0.5, 1e-5) << "without the token neither answer is likelier";
      }
    }
  }
  // Each of the two in a chain undoes everything; both together do so once, not twice.
  const HeadPairs pairs = patch_head_pairs(runs, grid, {}, 2);
  const EffectMap map = summarise(pairs.interaction, 0);
  EXPECT_NEAR(map.value[1], 1, 1e-5);
}

}  // namespace
}  // namespace microtome
