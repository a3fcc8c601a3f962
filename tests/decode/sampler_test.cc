// From logits to a token: order of truncation, determinism, ties, options that are refused.
#include "microtome/decode/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"

namespace microtome {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> logs(const std::vector<double>& p) {
  std::vector<float> logits;
  for (const double x : p) logits.push_back(static_cast<float>(std::log(x)));
  return logits;
}

std::set<int32_t> drawn(const SamplingOptions& options, const std::vector<float>& logits, int draws = 2000) {
  Sampler sampler(options);
  std::set<int32_t> ids;
  for (int i = 0; i < draws; ++i) ids.insert(sampler.draw(logits, i));
  return ids;
}

using Ids = std::set<int32_t>;

TEST(Sampler, temperature_zero_takes_the_largest_and_ties_go_to_the_lower_id) {
  EXPECT_EQ(drawn({}, {1, 3, 2, 3}, 5), (Ids{1}));
  EXPECT_EQ(drawn({.seed = 9}, {-kInf, -5, kNan, -5}, 5), (Ids{1}));
}

TEST(Sampler, frequencies_follow_the_softmax_at_the_temperature) {
  for (const double temperature : {1.0, 2.0}) {
    const std::vector<double> p = {0.1, 0.6, 0.3};
    double total = 0;
    for (const double x : p) total += std::pow(x, 1 / temperature);
    Sampler sampler({.temperature = temperature, .seed = 3});
    std::vector<int> counts(3);
    for (int i = 0; i < 20000; ++i) ++counts[sampler.draw(logs(p), i)];
    for (int i = 0; i < 3; ++i) EXPECT_NEAR(counts[i] / 20000.0, std::pow(p[i], 1 / temperature) / total, 0.015) << i;
  }
}

TEST(Sampler, top_k_keeps_the_k_largest_with_ties_to_the_lower_id) {
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 2}, {0, 1, 1, 1, 0.5}), (Ids{1, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 1}, {0, 1, 1}), (Ids{1}));
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 100}, {0, 1, 1}), (Ids{0, 1, 2}));
}

TEST(Sampler, top_p_keeps_the_smallest_prefix_that_reaches_it) {
  const std::vector<float> logits = logs({0.2, 0.5, 0.3});
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.49}, logits), (Ids{1}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.51}, logits), (Ids{1, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.81}, logits), (Ids{0, 1, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 1e-9}, logits), (Ids{1})) << "one token is always left";
}

TEST(Sampler, min_p_is_relative_to_the_largest) {
  const std::vector<float> logits = logs({0.2, 0.5, 0.3});
  EXPECT_EQ(drawn({.temperature = 1, .min_p = 0.59}, logits), (Ids{1, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .min_p = 0.39}, logits), (Ids{0, 1, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .min_p = 1}, logits), (Ids{1}));
}

// Top-p counts what top-k has left: of {0.4, 0.3} the first is 0.57 > 0.5.
TEST(Sampler, top_p_runs_on_what_top_k_left) {
  const std::vector<float> logits = logs({0.4, 0.3, 0.2, 0.1});
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.5}, logits), (Ids{0, 1}));
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 2, .top_p = 0.5}, logits), (Ids{0}));
}

TEST(Sampler, truncation_sees_the_logits_before_the_temperature) {
  const std::vector<float> logits = logs({0.5, 0.3, 0.2});
  for (const double temperature : {0.1, 1.0, 50.0}) {
    EXPECT_EQ(drawn({.temperature = temperature, .top_p = 0.49}, logits), (Ids{0})) << temperature;
    EXPECT_EQ(drawn({.temperature = temperature, .min_p = 0.61}, logits), (Ids{0})) << temperature;
  }
  EXPECT_EQ(drawn({.temperature = 50, .top_p = 0.79}, logits), (Ids{0, 1}));
}

TEST(Sampler, bias_comes_before_everything_else) {
  EXPECT_EQ(drawn({.logit_bias = {{2, 10}}}, {0, 1, 2, 3}, 3), (Ids{2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 1, .logit_bias = {{0, 5}}}, {0, 1, 2}), (Ids{0}));
  EXPECT_EQ(drawn({.temperature = 1, .logit_bias = {{1, -100}, {2, -100}}}, {0, 1, 2}), (Ids{0}));
}

TEST(Sampler, bias_of_ids_that_are_no_candidates_does_nothing) {
  EXPECT_EQ(drawn({.logit_bias = {{-1, 50}, {1, 50}, {2, 50}, {4, 50}, {1000, 50}}}, {0, kNan, -kInf, 1}, 3), (Ids{3}));
}

// What nth_element leaves in no order is sorted again, so the kept tokens meet the uniform number in the same order.
TEST(Sampler, a_large_vocabulary_gives_the_draws_of_its_definition) {
  const Philox rng(4, "logits");
  std::vector<float> logits;
  for (int i = 0; i < 3000; ++i) logits.push_back(std::round(4 * static_cast<float>(rng.normal(i))) / 2);  // many ties
  const SamplingOptions options{.temperature = 0.7, .top_k = 50, .seed = 5, .logit_bias = {{10, 3}, {2999, 20}}};
  std::vector<std::pair<double, int32_t>> sorted;
  for (int i = 0; i < 3000; ++i) sorted.push_back({-(logits[i] + (i == 10 ? 3.0 : i == 2999 ? 20.0 : 0.0)), i});
  std::sort(sorted.begin(), sorted.end());
  sorted.resize(50);
  double total = 0;
  for (const auto& [negative, id] : sorted) total += std::exp((sorted[0].first - negative) / 0.7);
  Sampler sampler(options);
  for (int i = 0; i < 300; ++i) {
    double left = Philox(5, "sample").uniform(i, 0) * total;
    size_t at = 0;
    while (at + 1 < sorted.size() && (left -= std::exp((sorted[0].first - sorted[at].first) / 0.7)) >= 0) ++at;
    ASSERT_EQ(sampler.draw(logits, i), sorted[at].second) << i;
  }
}

TEST(Sampler, a_draw_depends_on_seed_stream_and_index_alone) {
  const std::vector<float> logits(64, 0.0f);
  const auto sequence = [&](uint64_t seed, uint64_t stream, bool backwards) {
    Sampler sampler({.temperature = 1, .seed = seed, .stream = stream});
    std::vector<int32_t> ids(50);
    for (int i = 0; i < 50; ++i) {
      const int at = backwards ? 49 - i : i;
      ids[at] = sampler.draw(logits, at);
    }
    return ids;
  };
  EXPECT_EQ(sequence(1, 0, false), sequence(1, 0, true));
  EXPECT_NE(sequence(1, 0, false), sequence(2, 0, false));
  EXPECT_NE(sequence(1, 0, false), sequence(1, 1, false));
}

TEST(Sampler, logits_that_are_not_finite_are_never_drawn) {
  EXPECT_EQ(drawn({.temperature = 1}, {kNan, 0, -kInf, 1, kInf}), (Ids{1, 3}));
  for (const double temperature : {0.0, 1.0}) {
    Sampler sampler({.temperature = temperature});
    EXPECT_THROW(sampler.draw(std::vector<float>{kNan, -kInf}, 0), Error);
    EXPECT_THROW(sampler.draw({}, 0), Error);
  }
}

TEST(Sampler, tiny_and_huge_temperatures_and_logits_stay_sane) {
  EXPECT_EQ(drawn({.temperature = 1e-300}, {1, 2, 1.999f}), (Ids{1}));
  EXPECT_EQ(drawn({.temperature = 1000}, {1, 2, 3}), (Ids{0, 1, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.9}, {3e38f, -3e38f, 0}), (Ids{0}));
}

TEST(SamplingOptions, each_option_out_of_range_is_named) {
  const std::pair<SamplingOptions, const char*> bad[] = {{{.temperature = -1}, "temperature"},
                                                         {{.temperature = 1001}, "temperature"},
                                                         {{.temperature = kNan}, "temperature"},
                                                         {{.top_k = -1}, "top-k"},
                                                         {{.top_p = 0}, "top-p"},
                                                         {{.top_p = 1.01}, "top-p"},
                                                         {{.top_p = kNan}, "top-p"},
                                                         {{.min_p = -0.1}, "min-p"},
                                                         {{.min_p = 1.1}, "min-p"},
                                                         {{.logit_bias = {{7, kInf}}}, "token 7"},
                                                         {{.logit_bias = {{7, kNan}}}, "token 7"}};
  for (const auto& [options, name] : bad) {
    try {
      Sampler sampler(options);
      ADD_FAILURE() << name << " was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
    }
  }
  EXPECT_NO_THROW(validate({.temperature = 1000, .top_p = 1e-6, .min_p = 1}));
}

TEST(TopLogits, are_sorted_with_ties_to_the_lower_id) {
  using Top = std::vector<std::pair<int32_t, float>>;
  EXPECT_EQ(top_logits(std::vector<float>{1, 3, kNan, 3, 2}, 3), (Top{{1, 3}, {3, 3}, {4, 2}}));
  EXPECT_EQ(top_logits(std::vector<float>{1, -kInf}, 9), (Top{{0, 1}, {1, -kInf}}));
  EXPECT_TRUE(top_logits(std::vector<float>{1, 2}, 0).empty());
  EXPECT_TRUE(top_logits(std::vector<float>{1, 2}, -4).empty());
}

}  // namespace
}  // namespace microtome
