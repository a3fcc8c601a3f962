// Attribution patching against small steps, and its repairs against what they are defined by.
#include <gtest/gtest.h>

#include "microtome/circuits/patching/attribution.h"
#include "microtome/circuits/patching/qk_fix.h"
#include "microtome/model/capture.h"
#include "patching_support.h"

namespace microtome {
namespace {

using namespace patching_support;

struct Case {
  SiteKind site;
  const char* by;
};
constexpr Case kCases[] = {{SiteKind::kResidPre, "layer,pos"}, {SiteKind::kResidMid, "layer,pos"},
                           {SiteKind::kAttnOut, "layer"},      {SiteKind::kMlpOut, "layer,pos"},
                           {SiteKind::kZ, "layer,head"},       {SiteKind::kQ, "layer,head,pos"},
                           {SiteKind::kK, "layer,head"},       {SiteKind::kV, "layer,head"},
                           {SiteKind::kPattern, "layer,head"}, {SiteKind::kMlpPost, "layer,neuron"}};

// The host's run with `step` of the way to the other's value, at the cell.
double stepped(const PatchRuns& runs, size_t i, const CellGrid& grid, const Cell& cell, double step) {
  const Site site{grid.site, cell.layer};
  const Slice where = slice_of(cell);
  const Tensor a = cut_value(runs.host_value(i, site), grid.site, where),
               b = cut_value(runs.other_value(i, site), grid.site, where);
  Tensor change = a.clone();
  for (int64_t x = 0; x < change.numel(); ++x) change.f32()[x] = b.f32()[x] - a.f32()[x];
  return metric_alone(runs, i, {add_edit(site, where, change, static_cast<float>(step))});
}

TEST(AttributionPatching, equals_a_patch_in_the_limit_of_small_steps) {
  for (const char* name : kFamilies) {
    const auto model = golden_model(name);
    for (const PatchDirection direction : {PatchDirection::kDenoise, PatchDirection::kNoise}) {
      PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 5}), .direction = direction});
      for (const Case& test : kCases) {
        if (!site_exists({test.site, 0}, model->config())) continue;
        CellSelection some;
        if (std::string(test.by) == "layer,neuron") some.neurons = {1, 4};
        const CellGrid grid = make_grid(model->config(), test.site, parse_axes(test.by), some, runs.longest());
        const Effects effects = attribute(runs, grid, {}, PatchMethod::kAtp);
        for (size_t i = 0; i < runs.size(); ++i)
          for (size_t c = 0; c < grid.size(); c += 3) {
            const Cell cell = grid.cell(c);
            if (cell.pos && *cell.pos >= runs.length(i)) continue;
            constexpr double kStep = 1.0 / 16;
            // Richardson: the difference quotient at two steps, its quadratic error taken away.
            const auto quotient = [&](double h) {
              return (stepped(runs, i, grid, cell, h) - stepped(runs, i, grid, cell, -h)) / (2 * h);
            };
            const double want = (4 * quotient(kStep / 2) - quotient(kStep)) / 3;
            const double score = effects.at(c, i) - runs.host_metric(i);
            EXPECT_NEAR(score, want, 2e-3 * std::abs(want) + 3e-4)
                << name << " " << patch_site_name(test.site) << " cell " << c << " example " << i;
          }
      }
    }
  }
}

TEST(AttributionPatching, is_exact_where_the_model_is_linear) {
  // Nothing follows the last layer's heads but a sum and the unembedding, in a model without norms.
  const auto model = golden_model("attn_only_rotary");
  ASSERT_EQ(model->config().norm, NormKind::kNone);
  PatchRuns runs(*model, {.examples = random_pairs(*model, {7})});
  const int64_t last = model->config().n_layers - 1;
  for (const SiteKind site : {SiteKind::kZ, SiteKind::kV, SiteKind::kPattern}) {
    const CellGrid grid = make_grid(model->config(), site, parse_axes("layer,head"), {.layers = {last}}, 7);
    const Effects exact = patch_exact(runs, grid, {}), linear = attribute(runs, grid, {}, PatchMethod::kAtp);
    for (size_t c = 0; c < grid.size(); ++c)
      EXPECT_NEAR(exact.at(c, 0), linear.at(c, 0), 1e-5 * std::max(1.0, std::abs(exact.at(c, 0))));
  }
}

TEST(AttributionPatching, takes_the_value_of_an_ablation_too) {
  const auto model = golden_model("attn_only_rotary");
  PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 5}), .direction = PatchDirection::kNoise});
  const int64_t last = model->config().n_layers - 1;
  const CellGrid grid = make_grid(model->config(), SiteKind::kZ, parse_axes("layer,head"), {.layers = {last}}, 7);
  for (const ReplacementKind kind : {ReplacementKind::kZero, ReplacementKind::kMean}) {
    const Effects exact = patch_exact(runs, grid, {.kind = kind}),
                  linear = attribute(runs, grid, {.kind = kind}, PatchMethod::kAtp);
    for (size_t c = 0; c < grid.size(); ++c)
      for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(exact.at(c, i), linear.at(c, i), tolerance_of(exact.at(c, i)));
  }
}

// --- the QK fix
// ------------------------------------------------------------------------------------------------------------------

// Gradient of the host's metric at a site.
Tensor gradient_at(const PatchRuns& runs, size_t i, Site site) {
  Batch batch;
  batch.add_sequence(runs.host(i).tokens);
  Plan plan;
  Capture capture(1);
  capture.gradient(plan, site);
  plan.logit_rows = LogitRows::kChosen;
  plan.chosen_rows = runs.host(i).positions;
  plan.logit_columns = runs.host(i).columns;
  Tape tape(runs.model().context());
  const Forward f = forward(runs.model(), {.batch = batch, .plan = &plan, .tape = &tape});
  tape.backward(f.logits, runs.metric_gradient(i, f.logits.data));
  const Tensor g = capture.gradient_array(site);
  return g.view({g.size(1), g.size(2), g.size(3)});
}

// The layer's pattern when the cell is patched, read from a forward pass that does it.
Tensor patched_pattern(const PatchRuns& runs, size_t i, const CellGrid& grid, const Cell& cell) {
  const Site site{grid.site, cell.layer};
  const Slice where = slice_of(cell);
  Batch batch;
  batch.add_sequence(runs.host(i).tokens);
  Plan plan;
  plan.edit(set_edit(site, where, cut_value(runs.other_value(i, site), grid.site, where)));
  Tensor pattern;
  plan.read({SiteKind::kPattern, cell.layer}, [&](const SiteValue& v) { pattern = v.data.clone(); });
  forward(runs.model(), {.batch = batch, .plan = &plan});
  return pattern;
}

TEST(QkFix, is_the_change_of_the_pattern_times_its_gradient_on_every_family) {
  for (const char* name : kFamilies) {
    const auto model = golden_model(name);
    PatchRuns runs(*model, {.examples = random_pairs(*model, {7})});
    for (const SiteKind site : {SiteKind::kQ, SiteKind::kK})
      for (const char* by : {"layer,head", "layer,head,pos", "layer,pos"}) {
        const CellGrid grid = make_grid(model->config(), site, parse_axes(by), {}, 7);
        std::vector<Site> sites;
        for (int l = 0; l < model->config().n_layers; ++l)
          for (const SiteKind kind : {SiteKind::kQ, SiteKind::kK, SiteKind::kPattern}) sites.push_back({kind, l});
        runs.need(sites);
        for (size_t c = 0; c < grid.size(); c += 2) {
          const Cell cell = grid.cell(c);
          const Tensor g = gradient_at(runs, 0, {SiteKind::kPattern, cell.layer});
          const Tensor before = runs.host_value(0, {SiteKind::kPattern, cell.layer}),
                       after = patched_pattern(runs, 0, grid, cell);
          double want = 0;
          for (int64_t x = 0; x < g.numel(); ++x) want += (static_cast<double>(after.f32()[x]) - before.f32()[x]) * g.f32()[x];
          const QkFix fix(runs, 0, {site, cell.layer}, runs.other_value(0, {site, cell.layer}), g);
          EXPECT_NEAR(fix.score(cell), want, 1e-4 * std::max(1.0, std::abs(want))) << name << " " << by << " cell " << c;
        }
      }
  }
}

TEST(QkFix, repairs_a_saturated_softmax_that_the_gradient_misses) {
  // Larger and larger queries: the gradient vanishes, the patch does not.
  const auto model = golden_model("attn_only_rotary");
  PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 7, 7, 7, 7, 7})});
  const CellGrid grid = make_grid(model->config(), SiteKind::kQ, parse_axes("layer,head"), {}, 7);
  const Effects exact = patch_exact(runs, grid, {}), atp = attribute(runs, grid, {}, PatchMethod::kAtp),
                star = attribute(runs, grid, {}, PatchMethod::kAtpStar);
  double plain_error = 0, star_error = 0;
  for (size_t i = 0; i < runs.size(); ++i)
    for (size_t c = 0; c < grid.size(); ++c) {
      if (grid.cell(c).layer + 1 < model->config().n_layers) continue;
      // In the last layer the metric is linear in the pattern: with the fix nothing is left to miss, but for GradDrop's mean.
      plain_error += std::abs(atp.at(c, i) - exact.at(c, i));
      star_error += std::abs(star.at(c, i) - exact.at(c, i));
    }
  EXPECT_GT(plain_error, 1e-3);
  EXPECT_LT(star_error, 1e-2 * plain_error);
}

// --- GradDrop
// --------------------------------------------------------------------------------------------------------------------

TEST(GradDrop, is_the_mean_size_of_scores_with_one_layers_writes_held_constant) {
  for (const char* name : {"gpt2", "llama_gqa_tied", "neox_parallel", "attn_only_ln"}) {
    const auto model = golden_model(name);
    const int layers = static_cast<int>(model->config().n_layers);
    PatchRuns runs(*model, {.examples = random_pairs(*model, {6})});
    for (const Case& test : {Case{SiteKind::kZ, "layer,head"}, Case{SiteKind::kResidPre, "layer,pos"}}) {
      const CellGrid grid = make_grid(model->config(), test.site, parse_axes(test.by), {}, 6);
      const Effects star = attribute(runs, grid, {}, PatchMethod::kAtpStar), atp = attribute(runs, grid, {}, PatchMethod::kAtp);
      for (size_t c = 0; c < grid.size(); c += 3) {
        const Cell cell = grid.cell(c);
        const Site site{grid.site, cell.layer};
        const Slice where = slice_of(cell);
        const Tensor a = cut_value(runs.host_value(0, site), grid.site, where),
                     b = cut_value(runs.other_value(0, site), grid.site, where);
        Tensor change = a.clone();
        for (int64_t x = 0; x < change.numel(); ++x) change.f32()[x] = b.f32()[x] - a.f32()[x];
        double sum = 0;
        int count = 0;
        for (int dropped = 0; dropped < layers; ++dropped) {
          if (test.site == SiteKind::kZ && dropped == cell.layer) continue;
          std::vector<Edit> frozen;
          for (const SiteKind kind : {SiteKind::kAttnOut, SiteKind::kMlpOut})
            if (const Site s{kind, dropped}; site_exists(s, model->config()))
              frozen.push_back(set_edit(s, {}, runs.host_value(0, s)));
          const auto quotient = [&](double h) {
            std::vector<Edit> up = frozen, down = frozen;
            up.insert(up.begin(), add_edit(site, where, change, static_cast<float>(h)));
            down.insert(down.begin(), add_edit(site, where, change, static_cast<float>(-h)));
            return (metric_alone(runs, 0, up) - metric_alone(runs, 0, down)) / (2 * h);
          };
          sum += std::abs((4 * quotient(1.0 / 32) - quotient(1.0 / 16)) / 3);
          ++count;
        }
        const double found = star.at(c, 0) - runs.host_metric(0), plain = atp.at(c, 0) - runs.host_metric(0);
        EXPECT_NEAR(std::abs(found), sum / count, 2e-3 * sum / count + 3e-4) << name << " cell " << c;
        EXPECT_EQ(std::signbit(found), std::signbit(plain));
      }
    }
  }
}

TEST(PatchMethods, have_the_names_of_the_command_line) {
  for (const char* name : {"exact", "atp", "atp-star"}) EXPECT_EQ(method_name(parse_method(name)), name);
  EXPECT_THROW(parse_method("AtP*"), Error);
}

}  // namespace
}  // namespace microtome
