#include "microtome/circuits/site_values.h"

#include <array>

namespace microtome {
namespace {

constexpr int64_t kPassRows = 1024;  // tokens that share a pass: enough for products to run at full speed

}  // namespace

void read_values(const Model& model, std::span<const std::vector<int32_t>* const> prompts, std::span<SiteValues* const> values,
                 std::span<const Site> sites, const ReadOptions& options) {
  for (size_t first = 0, last = 0; first < prompts.size(); first = last) {
    Batch batch;
    for (; last < prompts.size() && (last == first || batch.rows() + std::ssize(*prompts[last]) <= kPassRows); ++last)
      batch.add_sequence(*prompts[last]);
    Plan plan;
    for (const Edit& e : options.edits) plan.edit(e);
    plan.logit_rows = LogitRows::kNone;
    for (const Site& site : sites)
      plan.read(site, [&, first](const SiteValue& v) {
        if (v.sequence >= 0) {
          (*values[first + v.sequence])[v.site] = v.data.clone();
          return;
        }
        for (size_t k = 0; k < batch.sequences.size(); ++k)
          (*values[first + k])[v.site] = v.data.slice(batch.sequences[k].row_begin, batch.sequences[k].row_end).clone();
      });
    forward(model, {.batch = batch, .plan = &plan, .progress = options.progress});
    if (options.passed) options.passed(static_cast<int64_t>(last - first));
  }
}

std::vector<Tensor> values_at(const Model& model, std::span<const int32_t> tokens, std::span<const Site> sites,
                              std::span<const Edit> edits) {
  const std::vector<int32_t> prompt(tokens.begin(), tokens.end());
  SiteValues values;
  read_values(model, std::array{&prompt}, std::array{&values}, sites, {.edits = edits});
  std::vector<Tensor> out;
  for (const Site& site : sites) out.push_back(values.at(site));
  return out;
}

}  // namespace microtome
