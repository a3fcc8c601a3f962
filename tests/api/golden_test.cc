// Every site, gradient and parameter gradient of every family against the transformers fp32 eager reference (values made by
// tests/golden/models/make_golden.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "microtome/api/commands.h"
#include "microtome/formats/npz.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(MICROTOME_TEST_DATA) / "golden/models";

api::TraceOptions all_of(const NpzReader& golden, const std::vector<std::string>& sites) {
  const NpyArray tokens = golden.read("tokens");
  const std::vector<int64_t> ids = tokens.integers();
  api::TraceOptions o;
  for (int64_t b = 0; b < tokens.shape[0]; ++b)
    o.input.tokens.emplace_back(ids.begin() + b * tokens.shape[1], ids.begin() + (b + 1) * tokens.shape[1]);
  o.sites = sites;
  o.grad = o.param_grad = true;
  return o;
}

double largest(const std::vector<float>& v) {
  double m = 0;
  for (const float x : v) m = std::max(m, std::isfinite(x) ? std::abs(static_cast<double>(x)) : 0.0);
  return m;
}

double difference(const std::vector<float>& a, const float* b) {
  double m = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;  // both -inf where masked
    m = std::max(m, std::abs(static_cast<double>(a[i]) - b[i]));
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return INFINITY;
  }
  return m;
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, every_site_and_gradient_matches_the_reference) {
  const fs::path folder = kGolden / GetParam();
  const api::Context context{Model::load(folder), GetParam()};
  const NpzReader golden(folder / "golden.npz");
  const bool grouped = context.model->config().n_kv_heads != context.model->config().n_heads;
  const auto arrays = api::trace(context, all_of(golden, {"*", "logits"}));
  int compared = 0;
  for (const api::NamedArray& a : arrays) {
    if (a.name == "tokens") continue;
    ASSERT_TRUE(golden.contains(a.name)) << a.name;
    const NpyArray want = golden.read(a.name);
    if (a.f64) {
      EXPECT_NEAR(*a.f64, want.as<double>()[0], 1e-5) << a.name;
      continue;
    }
    ASSERT_EQ(a.data.shape(), want.shape) << a.name;
    const std::vector<float> expected = want.floats();
    const bool gradient = a.name.starts_with("grad.") || a.name.starts_with("pgrad.");
    // Grouped queries: a key's stream is its group's first query head here, each query head's own in the reference.
    if (grouped && a.name.starts_with("grad.") && a.name.ends_with("hook_attn_in")) continue;
    const double tolerance = gradient ? 1e-4 * std::max(largest(expected), 1e-2) : 5e-5;
    EXPECT_LE(difference(expected, a.data.f32()), tolerance) << a.name << " (largest " << largest(expected) << ")";
    ++compared;
  }
  // Nothing that the reference holds is missing here.
  for (const std::string& name : golden.names()) {
    const bool found = std::any_of(arrays.begin(), arrays.end(), [&](const auto& a) { return a.name == name; });
    EXPECT_TRUE(found) << name << " is in the reference only";
  }
  EXPECT_GT(compared, 80);
}

TEST_P(Golden, a_gradient_has_its_site_s_shape_whichever_sites_are_asked_for) {
  const fs::path folder = kGolden / GetParam();
  const api::Context context{Model::load(folder), GetParam()};
  const NpzReader golden(folder / "golden.npz");
  for (const Site& site : all_sites(context.model->config())) {
    api::TraceOptions o = all_of(golden, {site_name(site)});
    o.param_grad = false;
    for (const api::NamedArray& a : api::trace(context, o))
      if (a.name.starts_with("grad.")) {
        EXPECT_EQ(a.data.shape(), golden.read(a.name).shape) << a.name;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Golden,
                         testing::Values("llama_gqa_tied", "llama3_scaled_bias", "gpt2", "neox_parallel", "neox_serial",
                                         "attn_only_ln", "attn_only_shortformer", "attn_only_rotary"));

}  // namespace
}  // namespace microtome
