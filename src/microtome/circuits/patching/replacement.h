// What stands in place of a host's value: the other run's, zero, a mean, or the host's own with its part in a subspace exchanged.
//
//   ReplacedValues replaced(runs, {.kind = ReplacementKind::kMean});
//   Tensor t = replaced.at(example, site);        // all of the site, [T, ..] or [H, T, T]; cells are cut out of it
//
// One thread.
#pragma once

#include <string>

#include "microtome/circuits/patching/cells.h"
#include "microtome/circuits/patching/runs.h"

namespace microtome {

enum class ReplacementKind : uint8_t {
  kOther,  // the other run's value ("resample")
  kZero,
  kMean,        // over the mean prompts, position by position; else over all positions of all hosts
  kProject,     // host + P (other - host): only the projection on the subspace is exchanged
  kProjectOut,  // host - P host: the projection is removed
};

struct Replacement {
  ReplacementKind kind = ReplacementKind::kOther;
  std::string name = "other";
  Tensor basis = {};  // kProject, kProjectOut: rows that span the subspace, [k, width] or [width]; need not be orthonormal
};

class ReplacedValues {
 public:
  // Throws InvalidArgument for a basis of another width than the site's or without rank, and for what a pattern cannot have.
  ReplacedValues(PatchRuns& runs, SiteKind site, const Replacement& replacement);

  Tensor at(size_t example, Site site);

 private:
  Tensor mean_of(size_t example, Site site);
  Tensor projected(size_t example, Site site) const;

  PatchRuns& runs_;
  Replacement replacement_;
  std::vector<std::vector<double>> basis_;     // orthonormal
  std::map<Site, std::vector<double>> means_;  // over all positions of all hosts, [heads * width]
};

// The part of a site's whole value that the slice names (positions within the prompt): [positions, heads, width] (no heads where
// the site has none), or [heads, queries, keys].
Tensor cut_value(const Tensor& whole, SiteKind site, const Slice& slice);

bool equal_bits(const Tensor& a, const Tensor& b);

}  // namespace microtome
