// Values of prompts at sites, in memory of their own: [T, ..] for each prompt, patterns and scores [H, T, T].
//
//   std::vector<SiteValues> values(2);
//   read_values(model, {{&clean, &corrupted}}, {{&values[0], &values[1]}}, sites);
//   values[0].at({SiteKind::kZ, 5});
//
// One thread.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <vector>

#include "microtome/model/model.h"

namespace microtome {

using SiteValues = std::map<Site, Tensor>;

struct ReadOptions {
  std::span<const Edit> edits = {};          // of the model that is read
  const Progress* progress = nullptr;        // asked for cancellation
  std::function<void(int64_t)> passed = {};  // after each pass: its number of prompts
};

// Reads the sites in runs of these prompts, several in a pass, each into its own map. Throws what forward throws.
void read_values(const Model& model, std::span<const std::vector<int32_t>* const> prompts, std::span<SiteValues* const> values,
                 std::span<const Site> sites, const ReadOptions& options = {});

// Of one prompt, in the order of the sites.
std::vector<Tensor> values_at(const Model& model, std::span<const int32_t> tokens, std::span<const Site> sites,
                              std::span<const Edit> edits = {});

}  // namespace microtome
