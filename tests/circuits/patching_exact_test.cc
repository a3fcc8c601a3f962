// Maps of patches and ablations against one forward pass for each cell.
#include <gtest/gtest.h>

#include "microtome/circuits/patching/exact.h"
#include "patching_support.h"

namespace microtome {
namespace {

using namespace patching_support;

constexpr SiteKind kSites[] = {SiteKind::kResidPre, SiteKind::kResidMid, SiteKind::kResidPost, SiteKind::kAttnOut,
                               SiteKind::kMlpOut,   SiteKind::kZ,        SiteKind::kQ,         SiteKind::kK,
                               SiteKind::kV,        SiteKind::kPattern,  SiteKind::kMlpPost};

std::vector<std::string> axes_for(SiteKind site) {
  switch (site) {
    case SiteKind::kZ: return {"layer", "layer,pos", "layer,head", "layer,head,pos"};
    case SiteKind::kQ:
    case SiteKind::kK:
    case SiteKind::kV: return {"layer,head", "layer,head,pos"};
    case SiteKind::kPattern: return {"layer,head", "layer,head,dst,src"};
    case SiteKind::kMlpPost: return {"layer", "layer,neuron"};
    default: return {"layer", "layer,pos"};
  }
}

// The cell's edit in the host's run, written out: the other run's value at the whole slice.
std::vector<Edit> slow_edits(const PatchRuns& runs, const CellGrid& grid, const Cell& cell, const Tensor& other) {
  Slice where = slice_of(cell);
  return {set_edit({grid.site, cell.layer}, where, cut_value(other, grid.site, where))};
}

TEST(PatchExact, every_site_and_axis_equals_one_forward_pass_a_cell_on_every_family_with_mixed_lengths) {
  for (const char* name : kFamilies) {
    const auto model = golden_model(name);
    for (const PatchDirection direction : {PatchDirection::kDenoise, PatchDirection::kNoise}) {
      PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 5}), .direction = direction});
      for (const SiteKind site : kSites) {
        if (!site_exists({site, 0}, model->config())) continue;
        for (const std::string& by : axes_for(site)) {
          CellSelection some;
          if (by == "layer,neuron") some.neurons = {0, 3, 5};
          const CellGrid grid = make_grid(model->config(), site, parse_axes(by), some, runs.longest());
          const Effects effects = patch_exact(runs, grid, {});
          for (size_t i = 0; i < runs.size(); ++i) {
            const std::vector<int32_t>& from =
                direction == PatchDirection::kDenoise ? runs.example(i).clean : runs.example(i).corrupted;
            for (size_t c = 0; c < grid.size(); ++c) {
              const Cell cell = grid.cell(c);
              const double found = effects.at(c, i);
              if ((cell.pos && *cell.pos >= runs.length(i)) || (cell.src && *cell.src > *cell.pos)) {
                EXPECT_TRUE(std::isnan(found));
                continue;
              }
              if (c % 3 == 2 && by == "layer,head,dst,src") continue;  // enough of them
              const double want =
                  metric_alone(runs, i, slow_edits(runs, grid, cell, site_value(*model, from, {site, cell.layer})));
              ASSERT_NEAR(found, want, tolerance_of(want))
                  << name << " " << patch_site_name(site) << " by " << by << " cell " << c << " example " << i;
            }
          }
        }
      }
    }
  }
}

TEST(PatchExact, cells_before_the_first_difference_are_exactly_the_host) {
  const auto model = golden_model("llama_gqa_tied");
  for (const PatchDirection direction : {PatchDirection::kDenoise, PatchDirection::kNoise}) {
    PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 7}), .direction = direction});
    const CellGrid grid = make_grid(model->config(), SiteKind::kResidPost, parse_axes("layer,pos"), {}, 7);
    const EffectMap map = summarise(patch_exact(runs, grid, {}), 0);
    const double host = direction == PatchDirection::kDenoise ? 0.0 : 1.0;
    int changed = 0;
    for (size_t c = 0; c < grid.size(); ++c) {
      if (*grid.cell(c).pos < 3) {
        EXPECT_EQ(map.value[c], host);
      } else {
        changed += map.value[c] != host;
      }
    }
    // Above the last layer only the answer's position counts.
    EXPECT_EQ(changed, 2 * 4 + 1);
  }
}

TEST(PatchExact, the_whole_stream_replaced_is_the_other_run_and_nothing_replaced_the_host_bit_for_bit) {
  for (const char* name : kFamilies) {
    const auto model = golden_model(name);
    PatchRuns runs(*model, {.examples = random_pairs(*model, {8, 6})});
    const CellGrid grid = make_grid(model->config(), SiteKind::kResidPre, parse_axes("layer"), {.layers = {0}}, 8);
    const Effects all = patch_exact(runs, grid, {});
    std::vector<Intervention> nothing{{.host = 0, .edits = {}}, {.host = 1, .edits = {}}};
    std::vector<double> none(2);
    runs.sweep().run(nothing, [&](size_t k, const Tensor& logits) { none[k] = runs.metric_of(k, logits); });
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(all.at(0, i), runs.clean()[i]) << name;
      EXPECT_EQ(none[i], runs.corrupted()[i]) << name;
    }
    const EffectMap map = summarise(all, 0);
    EXPECT_EQ(map.value[0], 1.0);
  }
}

TEST(PatchExact, key_and_value_heads_stand_for_their_whole_group) {
  const auto model = golden_model("llama_gqa_tied");
  PatchRuns runs(*model, {.examples = random_pairs(*model, {6})});
  for (const SiteKind site : {SiteKind::kK, SiteKind::kV})
    EXPECT_EQ(make_grid(model->config(), site, parse_axes("layer,head"), {}, 6).ticks[1].size(), 2u);
  for (const SiteKind site : {SiteKind::kQ, SiteKind::kZ, SiteKind::kPattern})
    EXPECT_EQ(make_grid(model->config(), site, parse_axes("layer,head"), {}, 6).ticks[1].size(), 4u);
}

TEST(PatchExact, every_metric_is_read_from_the_changed_run) {
  const auto model = golden_model("gpt2");
  for (const MetricKind kind : {MetricKind::kLogitDiff, MetricKind::kProbDiff, MetricKind::kKl, MetricKind::kLoss}) {
    PatchRuns runs(*model, {.examples = random_pairs(*model, {7}), .metric = Metric(kind)});
    const CellGrid grid = make_grid(model->config(), SiteKind::kResidMid, parse_axes("layer,pos"), {}, 7);
    const Effects effects = patch_exact(runs, grid, {});
    for (size_t c = 0; c < grid.size(); ++c) {
      const Cell cell = grid.cell(c);
      const Tensor other = site_value(*model, runs.example(0).clean, {grid.site, cell.layer});
      const double want = metric_alone(runs, 0, slow_edits(runs, grid, cell, other));
      EXPECT_NEAR(effects.at(c, 0), want, tolerance_of(want)) << metric_name(kind);
    }
    if (kind == MetricKind::kKl) {
      EXPECT_NEAR(runs.clean()[0], 0, 1e-12);
    }
  }
}

// --- ablations ---------------------------------------------------------------------------------------------------------------

// All hosts in one pass with one edit: what the command line's --edit does.
std::vector<double> edited_together(const PatchRuns& runs, Edit edit) {
  std::vector<double> out;
  Batch batch;
  for (size_t i = 0; i < runs.size(); ++i) batch.add_sequence(runs.host(i).tokens);
  Plan plan;
  plan.edit(std::move(edit));
  const Tensor logits = forward(runs.model(), {.batch = batch, .plan = &plan}).logits.data;
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::vector<int32_t> columns = runs.host(i).columns;
    Tensor picked = Tensor::empty({1, static_cast<int64_t>(columns.size())});
    for (size_t k = 0; k < columns.size(); ++k) picked.f32()[k] = logits.f32()[i * logits.size(1) + columns[k]];
    out.push_back(runs.metric_of(i, picked));
  }
  return out;
}

TEST(PatchAblation, zero_and_mean_are_what_the_edits_of_those_names_do) {
  for (const char* name : {"gpt2", "llama_gqa_tied", "neox_parallel", "attn_only_rotary"}) {
    const auto model = golden_model(name);
    PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 5, 6}), .direction = PatchDirection::kNoise});
    const CellGrid grid = make_grid(model->config(), SiteKind::kZ, parse_axes("layer,head"), {}, 7);
    for (const auto& [kind, op] : {std::pair{ReplacementKind::kZero, EditOp::kZero}, {ReplacementKind::kMean, EditOp::kMean}}) {
      const Effects effects = patch_exact(runs, grid, {.kind = kind});
      for (size_t c = 0; c < grid.size(); ++c) {
        Edit edit;
        edit.site = {SiteKind::kZ, grid.cell(c).layer};
        edit.where.head = slice_of(grid.cell(c)).head;
        edit.op = op;
        const std::vector<double> want = edited_together(runs, edit);
        for (size_t i = 0; i < runs.size(); ++i) EXPECT_NEAR(effects.at(c, i), want[i], tolerance_of(want[i])) << name;
      }
    }
  }
}

TEST(PatchAblation, the_mean_of_a_template_is_taken_position_by_position_over_its_own_prompts) {
  const auto model = golden_model("llama_gqa_tied");
  const std::vector<Example> controls = random_pairs(*model, {6, 6, 6}, 1);
  std::vector<std::vector<int32_t>> prompts;
  for (const Example& e : controls) prompts.push_back(e.corrupted);
  PatchRuns runs(*model, {.examples = random_pairs(*model, {6}), .mean_prompts = {prompts}, .direction = PatchDirection::kNoise});
  const CellGrid grid = make_grid(model->config(), SiteKind::kMlpOut, parse_axes("layer,pos"), {}, 6);
  const Effects effects = patch_exact(runs, grid, {.kind = ReplacementKind::kMean});
  for (size_t c = 0; c < grid.size(); ++c) {
    const Cell cell = grid.cell(c);
    const Site site{SiteKind::kMlpOut, cell.layer};
    Tensor mean = Tensor::zeros({1, model->config().d_model});
    for (const auto& p : prompts) {
      const Tensor v = site_value(*model, p, site);
      for (int64_t x = 0; x < mean.numel(); ++x) mean.f32()[x] += v.f32()[*cell.pos * mean.numel() + x] / 3.0f;
    }
    const double want = metric_alone(runs, 0, {set_edit(site, slice_of(cell), mean)});
    EXPECT_NEAR(effects.at(c, 0), want, tolerance_of(want));
  }
}

TEST(PatchAblation, the_mean_pattern_stays_causal_and_its_rows_sum_to_one) {
  const auto model = golden_model("gpt2");
  PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 5, 6}), .direction = PatchDirection::kNoise});
  const Site site{SiteKind::kPattern, 1};
  runs.need({site});
  ReplacedValues mean(runs, SiteKind::kPattern, {.kind = ReplacementKind::kMean});
  for (size_t i = 0; i < runs.size(); ++i) {
    const Tensor t = mean.at(i, site);
    const int64_t n = runs.length(i);
    ASSERT_EQ(t.shape(), (Shape{model->config().n_heads, n, n}));
    for (int64_t r = 0; r < t.size(0) * n; ++r) {
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) {
        sum += t.f32()[r * n + k];
        if (k > r % n) {
          EXPECT_EQ(t.f32()[r * n + k], 0);
        }
      }
      EXPECT_NEAR(sum, 1, 1e-6);
    }
  }
  PatchRuns one(*model, {.examples = random_pairs(*model, {7})});
  EXPECT_THROW(ReplacedValues(one, SiteKind::kPattern, {.kind = ReplacementKind::kMean}), Error);
}

TEST(PatchAblation, projections_exchange_or_remove_exactly_the_subspace) {
  const auto model = golden_model("llama_gqa_tied");
  const int64_t d = model->config().d_model;
  PatchRuns runs(*model, {.examples = random_pairs(*model, {7})});
  const Site site{SiteKind::kResidPost, 1};
  runs.need({site});
  const Philox rng(3, "basis");
  // Three rows, the third in the span of the others: a plane.
  Tensor basis = Tensor::empty({3, d});
  for (int64_t x = 0; x < d; ++x) {
    basis.f32()[x] = static_cast<float>(rng.normal(x, 0));
    basis.f32()[d + x] = static_cast<float>(3 * rng.normal(x, 1) + basis.f32()[x]);
    basis.f32()[2 * d + x] = basis.f32()[x] - 2 * basis.f32()[d + x];
  }
  ReplacedValues exchange(runs, site.kind, {.kind = ReplacementKind::kProject, .basis = basis});
  ReplacedValues remove(runs, site.kind, {.kind = ReplacementKind::kProjectOut, .basis = basis});
  const Tensor host = runs.host_value(0, site), other = runs.other_value(0, site), e = exchange.at(0, site),
               r = remove.at(0, site);
  const auto dot = [&](const Tensor& t, int64_t p, const float* u) {
    double sum = 0;
    for (int64_t x = 0; x < d; ++x) sum += static_cast<double>(t.f32()[p * d + x]) * u[x];
    return sum;
  };
  for (int64_t p = 0; p < 7; ++p) {
    for (int64_t k = 0; k < 3; ++k) {
      const float* u = basis.f32() + k * d;
      EXPECT_NEAR(dot(e, p, u), dot(other, p, u), 1e-4);
      EXPECT_NEAR(dot(r, p, u), 0, 1e-4);
    }
    // A direction orthogonal to the plane keeps the host's part.
    std::vector<float> v(d);
    for (int64_t x = 0; x < d; ++x) v[x] = static_cast<float>(rng.normal(x, 7));
    Tensor probe = Tensor::from(v, {1, d});
    for (int pass = 0; pass < 20; ++pass)
      for (int64_t k = 0; k < 2; ++k) {
        const float* u = basis.f32() + k * d;
        double uu = 0;
        for (int64_t x = 0; x < d; ++x) uu += static_cast<double>(u[x]) * u[x];
        const double c = dot(probe, 0, u) / uu;
        for (int64_t x = 0; x < d; ++x) probe.f32()[x] -= static_cast<float>(c * u[x]);
      }
    EXPECT_NEAR(dot(e, p, probe.f32()), dot(host, p, probe.f32()), 1e-3);
    EXPECT_NEAR(dot(r, p, probe.f32()), dot(host, p, probe.f32()), 1e-3);
  }
  // The whole space: the other run's value, and 0.
  Tensor identity = Tensor::zeros({d, d});
  for (int64_t x = 0; x < d; ++x) identity.f32()[x * d + x] = 1;
  ReplacedValues whole(runs, site.kind, {.kind = ReplacementKind::kProject, .basis = identity});
  const Tensor w = whole.at(0, site);
  for (int64_t x = 0; x < w.numel(); ++x)
    EXPECT_NEAR(w.f32()[x], other.f32()[x], 1e-5 * std::max(1.0f, std::abs(other.f32()[x])));
  EXPECT_THROW(ReplacedValues(runs, SiteKind::kZ, {.kind = ReplacementKind::kProject, .basis = basis}), Error);
  EXPECT_THROW(ReplacedValues(runs, site.kind, {.kind = ReplacementKind::kProject, .basis = Tensor::zeros({1, d})}), Error);
}

// --- bad input -----------------------------------------------------------------------------------------------------------------

template <class Fn>
std::string message_of(const Fn& fn) {
  try {
    fn();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    return e.what();
  }
  return "nothing was thrown";
}

TEST(PatchBadInput, says_what_the_family_lacks_and_what_to_take_instead) {
  const auto grid = [](const char* model, SiteKind site, const char* by, CellSelection s = {}) {
    return message_of([&] { make_grid(golden_model(model)->config(), site, parse_axes(by), s, 5); });
  };
  EXPECT_NE(grid("neox_parallel", SiteKind::kResidMid, "layer,pos").find("no state between"), std::string::npos);
  EXPECT_NE(grid("attn_only_ln", SiteKind::kMlpOut, "layer,pos").find("no MLPs"), std::string::npos);
  EXPECT_NE(grid("gpt2", SiteKind::kResidPre, "layer,head").find("no heads"), std::string::npos);
  EXPECT_NE(grid("gpt2", SiteKind::kZ, "layer,head,dst,src").find("pattern"), std::string::npos);
  EXPECT_NE(grid("gpt2", SiteKind::kZ, "layer,neuron").find("mlp_post"), std::string::npos);
  EXPECT_NE(grid("gpt2", SiteKind::kZ, "layer,head", {.layers = {99}}).find("layer 99"), std::string::npos);
  EXPECT_NE(grid("gpt2", SiteKind::kZ, "layer,head", {.neurons = {1}}).find("neurons are chosen, but the map has no such axis"),
            std::string::npos);
  EXPECT_NE(message_of([] { parse_axes("pos,layer"); }).find("layer,pos"), std::string::npos);
  EXPECT_NE(message_of([] { parse_patch_site("resid"); }).find("resid_pre"), std::string::npos);
  for (const char* bad : {"", "3:2", "-1", "1,,2", "1:x"})
    EXPECT_NE(message_of([&] { parse_selection(bad, "layers"); }), "nothing was thrown") << bad;
  EXPECT_EQ(parse_selection("3,7,5:8", "layers"), (std::vector<int64_t>{3, 5, 6, 7}));
}

TEST(PatchBadInput, sides_of_different_length_are_refused_with_both_lengths) {
  const auto model = golden_model("gpt2");
  Example e = random_pairs(*model, {6})[0];
  e.corrupted.push_back(1);
  const std::string said = message_of([&] { PatchRuns(*model, {.examples = {e}}); });
  EXPECT_NE(said.find("6 tokens"), std::string::npos) << said;
  EXPECT_NE(said.find("7"), std::string::npos);
}

// The model that is patched may have edits in it: both runs and every patch are of that model.
TEST(PatchExact, under_edits_equals_one_forward_pass_a_cell_with_the_same_edits) {
  for (const char* name : kFamilies) {
    const auto model = golden_model(name);
    const std::vector<Edit> edits{zero_edit({SiteKind::kZ, 1}, {.head = Range{0, 1}}),
                                  {.site = {SiteKind::kAttnOut, 0}, .op = EditOp::kScale, .factor = 0.5f}};
    PatchRuns runs(*model, {.examples = random_pairs(*model, {6}), .edits = edits});
    PatchRuns unedited(*model, {.examples = random_pairs(*model, {6})});
    EXPECT_NE(runs.clean()[0], unedited.clean()[0]);
    for (const SiteKind site : {SiteKind::kResidPre, SiteKind::kZ}) {
      const CellGrid grid =
          make_grid(model->config(), site, parse_axes(site == SiteKind::kZ ? "layer,head" : "layer,pos"), {}, 6);
      const Effects effects = patch_exact(runs, grid, {});
      for (size_t c = 0; c < grid.size(); ++c) {
        const Cell cell = grid.cell(c);
        const Tensor other = values_at(*model, runs.example(0).clean, std::array{Site{site, cell.layer}}, edits)[0];
        std::vector<Edit> all = edits;
        for (Edit& e : slow_edits(runs, grid, cell, other)) all.push_back(std::move(e));
        const double want = metric_alone(runs, 0, all);
        EXPECT_NEAR(effects.at(c, 0), want, tolerance_of(want)) << name << " " << patch_site_name(site) << " cell " << c;
      }
    }
  }
}

}  // namespace
}  // namespace microtome
