// Path patching against the slow way: forward passes with every edit written out.
#include <gtest/gtest.h>

#include "microtome/circuits/patching/head_pairs.h"
#include "microtome/circuits/patching/paths.h"
#include "patching_support.h"

namespace microtome {
namespace {

using namespace patching_support;

Tensor whole(const PatchRuns& runs, size_t i, Site site, bool host) {
  const bool corrupted = host == (runs.setup().direction == PatchDirection::kDenoise);
  return site_value(runs.model(), corrupted ? runs.example(i).corrupted : runs.example(i).clean, site);
}

// What the sender writes, in one of the two runs: [T, D].
Tensor written(const PatchRuns& runs, size_t i, const Sender& s, bool host) {
  if (s.kind == Sender::Kind::kInput) return whole(runs, i, {SiteKind::kResidPre, 0}, host);
  if (s.kind == Sender::Kind::kMlp) return whole(runs, i, {SiteKind::kMlpOut, s.layer}, host);
  const Tensor result = whole(runs, i, {SiteKind::kResult, s.layer}, host);  // [T, H, D]
  return cut_value(result, SiteKind::kResult, {.head = Range{s.head, s.head + 1}}).view({result.size(0), result.size(2)});
}

// The stream that the receiver reads when the sender is changed: on the direct path, or through MLPs with heads frozen.
Tensor stream_under(const PatchRuns& runs, size_t i, const Sender& s, Site at, bool through_mlps) {
  const Tensor host = written(runs, i, s, true), other = written(runs, i, s, false);
  if (!through_mlps) {
    Tensor stream = whole(runs, i, at, true);
    for (int64_t x = 0; x < stream.numel(); ++x) stream.f32()[x] += other.f32()[x] - host.f32()[x];
    return stream;
  }
  // Every head's output is the host's; the sender's own is the other run's.
  Batch batch;
  batch.add_sequence(runs.host(i).tokens);
  Plan plan;
  if (s.kind == Sender::Kind::kInput) plan.edit(set_edit({SiteKind::kResidPre, 0}, {}, other));
  for (int l = 0; l < runs.config().n_layers; ++l) {
    Tensor z = whole(runs, i, {SiteKind::kZ, l}, true);
    if (s.kind == Sender::Kind::kHead && s.layer == l) {
      const Tensor from = whole(runs, i, {SiteKind::kZ, l}, false);
      const int64_t heads = z.size(1), d = z.size(2);
      for (int64_t p = 0; p < z.size(0); ++p)
        for (int64_t x = 0; x < d; ++x) z.f32()[(p * heads + s.head) * d + x] = from.f32()[(p * heads + s.head) * d + x];
    }
    plan.edit(set_edit({SiteKind::kZ, l}, {}, z));
    if (s.kind == Sender::Kind::kMlp && s.layer == l) plan.edit(set_edit({SiteKind::kMlpOut, l}, {}, other));
  }
  Tensor stream;
  plan.read(at, [&](const SiteValue& v) { stream = v.data.clone(); });
  forward(runs.model(), {.batch = batch, .plan = &plan});
  return stream;
}

double slow_path(const PatchRuns& runs, size_t i, const Sender& s, const std::vector<Receiver>& set, bool through_mlps) {
  std::vector<Edit> edits;
  for (const Receiver& r : set) {
    if (!reaches(s, r, runs.config())) continue;
    SiteKind at = SiteKind::kResidPre;
    if (r.site == SiteKind::kMlpIn && !runs.config().parallel) at = SiteKind::kResidMid;
    if (r.site == SiteKind::kResidPost) at = SiteKind::kResidPost;
    Tensor stream = stream_under(runs, i, s, {at, r.layer}, through_mlps);
    Slice where;
    if (r.site != SiteKind::kMlpIn && r.site != SiteKind::kResidPost) {
      where.head = Range{r.head, r.head + 1};
      stream = stream.view({stream.size(0), 1, stream.size(1)});
    }
    edits.push_back(set_edit({r.site, r.layer}, where, stream));
  }
  return metric_alone(runs, i, edits);
}

TEST(PathPatching, edges_and_paths_through_mlps_equal_the_slow_way_on_every_family_with_mixed_lengths) {
  for (const char* name : kFamilies) {
    const auto model = golden_model(name);
    const Config& c = model->config();
    const std::string last = std::to_string(c.n_layers - 1);
    const std::vector<Sender> senders = parse_senders(c.has_mlp() ? "input,a0.h1,m0,a1.h0" : "input,a0.h1,a1.h0", c);
    const std::vector<std::vector<Receiver>> receivers = parse_receivers(
        std::string("a1.h1<q>,a1.h0<k>,a") + last + ".h1<v>,logits,a1.h1<q>+a" + last + ".h0<k>" + (c.has_mlp() ? ",m0,m1" : ""),
        c);
    for (const PatchDirection direction : {PatchDirection::kDenoise, PatchDirection::kNoise}) {
      PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 5}), .direction = direction});
      for (const bool through : {false, true}) {
        const Effects effects = patch_paths(runs, senders, receivers, {.through_mlps = through});
        int changed = 0;
        for (size_t s = 0; s < senders.size(); ++s)
          for (size_t r = 0; r < receivers.size(); ++r)
            for (size_t i = 0; i < runs.size(); ++i) {
              const double found = effects.at(s * receivers.size() + r, i);
              bool path = false;
              for (const Receiver& to : receivers[r]) path = path || reaches(senders[s], to, c);
              ASSERT_EQ(std::isnan(found), !path) << senders[s].name << " to " << receivers[r][0].name;
              if (!path) continue;
              const double want = slow_path(runs, i, senders[s], receivers[r], through);
              EXPECT_NEAR(found, want, 2 * tolerance_of(want))
                  << name << " " << senders[s].name << " to " << receivers[r][0].name << (through ? " through MLPs" : "");
              changed += found != runs.host_metric(i);
            }
        EXPECT_GT(changed, 10) << name;
      }
    }
  }
}

TEST(PathPatching, all_edges_into_the_logits_sum_to_the_whole_effect_where_there_is_no_norm) {
  const auto model = golden_model("attn_only_rotary");
  ASSERT_EQ(model->config().norm, NormKind::kNone);
  PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 6})});
  const Effects effects = patch_paths(runs, parse_senders("all", model->config()), parse_receivers("logits", model->config()));
  for (size_t i = 0; i < runs.size(); ++i) {
    double sum = 0;
    for (size_t s = 0; s < effects.cells(); ++s) sum += effects.at(s, i) - runs.host_metric(i);
    EXPECT_NEAR(sum, runs.clean()[i] - runs.corrupted()[i], 1e-4);
  }
}

TEST(PathNodes, are_named_as_in_the_graph_and_refused_with_the_reason) {
  const Config &c = golden_model("llama_gqa_tied")->config(), bare = golden_model("attn_only_ln")->config(),
               parallel = golden_model("neox_parallel")->config();
  const auto said = [](const auto& fn) -> std::string {
    try {
      fn();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(parse_senders("all", c).size(), 1u + 3 * (4 + 1));
  EXPECT_EQ(parse_senders("heads", bare).size(), static_cast<size_t>(bare.n_layers * bare.n_heads));
  EXPECT_EQ(parse_receivers("a1.h3<q>+a2.h1<k>,logits", c).size(), 2u);
  EXPECT_NE(said([&] { parse_receiver("a1.h2<k>", c); }).find("key/value heads 0 to 1"), std::string::npos);
  EXPECT_NE(said([&] { parse_sender("a3.h0", c); }).find("layers 0 to 2"), std::string::npos);
  EXPECT_NE(said([&] { parse_sender("m0", bare); }).find("no MLPs"), std::string::npos);
  for (const char* bad : {"", "a1", "a1.h", "a1.h1<x>", "h1", "a1.h1 ", "a-1.h0", "a99999999999999999999.h0", "logits"})
    EXPECT_NE(said([&] { parse_sender(bad, c); }), "") << bad;
  for (const char* bad : {"", "a1.h1", "input", "m", "a1.h1<q>x"}) EXPECT_NE(said([&] { parse_receiver(bad, c); }), "") << bad;
  // A layer's heads write before its MLP reads, unless the two are parallel.
  EXPECT_TRUE(reaches(parse_sender("a1.h0", c), parse_receiver("m1", c), c));
  EXPECT_FALSE(reaches(parse_sender("a1.h0", parallel), parse_receiver("m1", parallel), parallel));
  EXPECT_FALSE(reaches(parse_sender("a1.h0", c), parse_receiver("a1.h1<q>", c), c));
  EXPECT_FALSE(reaches(parse_sender("m1", c), parse_receiver("m1", c), c));
  EXPECT_TRUE(reaches(parse_sender("m1", c), parse_receiver("a2.h1<q>", c), c));
}

TEST(HeadPairs, are_what_two_ablations_together_do_beyond_their_sum) {
  const auto model = golden_model("llama_gqa_tied");
  PatchRuns runs(*model, {.examples = random_pairs(*model, {7, 5}), .direction = PatchDirection::kNoise});
  const CellGrid grid = make_grid(model->config(), SiteKind::kZ, parse_axes("layer,head"), {}, 7);
  for (const ReplacementKind kind : {ReplacementKind::kZero, ReplacementKind::kOther}) {
    const HeadPairs pairs = patch_head_pairs(runs, grid, {.kind = kind}, 5);
    ASSERT_EQ(pairs.heads.size(), 5u);
    const auto edit = [&](size_t i, const Cell& cell) {
      const Site site{SiteKind::kZ, cell.layer};
      const Slice where = slice_of(cell);
      if (kind == ReplacementKind::kZero) return zero_edit(site, where);
      return set_edit(site, where, cut_value(whole(runs, i, site, false), SiteKind::kZ, where));
    };
    for (size_t i = 0; i < 2; ++i)
      for (size_t a = 0; a < 5; ++a)
        for (size_t b = 0; b < 5; ++b) {
          const double found = pairs.interaction.at(a * 5 + b, i);
          if (a == b) {
            EXPECT_TRUE(std::isnan(found));
            continue;
          }
          const Edit first = edit(i, pairs.heads[a]), second = edit(i, pairs.heads[b]);
          const double want = metric_alone(runs, i, {first, second}) - metric_alone(runs, i, {first}) -
                              metric_alone(runs, i, {second}) + runs.host_metric(i);
          EXPECT_NEAR(found, want, 4e-5);
        }
  }
}

}  // namespace
}  // namespace microtome
