// patch: what carries the difference between two prompts. Parts of one run are put into the other, or ablated, everywhere at
// once; one number for each place says how much of the difference between the two answers that place makes.
//
//   PatchOptions o{.examples = {.task = "ioi", .n = 8}, .site = "z", .by = "layer,head"};
//   const Json map = patch(context, o);
//   map["values"][9][6];                      // 0: as in the corrupted run, 1: as in the clean run
//
// Values come in the shape of `axes`; null where no prompt has the place. See docs/patching.md.
#pragma once

#include "microtome/api/examples.h"
#include "microtome/circuits/patching/attribution.h"

namespace microtome::api {

struct PatchOptions {
  ExamplesOptions examples;
  std::vector<EditOptions> edits;       // of the model that is patched: both runs have them; `mean` is refused
  std::optional<std::string> site;      // resid_pre; z by head,head
  std::optional<std::string> by;        // as the site has heads or not
  std::optional<std::string> from, to;  // path patching instead of a site
  bool through_mlps = false;
  std::optional<std::string> direction;  // denoise; noise where something is ablated, and by head,head
  std::string method = "exact";
  bool with_exact = false;  // beside an attribution method: the exact map too, and their correlation
  std::vector<Replacement> ablate;
  std::optional<std::string> metric;  // the task's own; logit-diff
  CellSelection selection;
  std::optional<int64_t> top;  // heads whose pairs are tried, by head,head; 16
  double memory_gb = 1;
  double most_tmacs = 20;  // a larger sweep is refused, in 10^12 multiply-adds
};

PatchOptions patch_options(const Json& request);

// {model, task, site, by, direction, method, metric, prompts, clean, corrupted, baseline, axes[], ticks{}, values, low, high,
// raw, macs{plain, planned, executed}, seconds, positions[{role, clean[], corrupted[]}], warnings[]}; by head,head also heads[],
// clusters[]; with_exact: exact, correlation. Throws InvalidArgument, NotFound.
Json patch(const Context& context, const PatchOptions& options);

// "zero,mean,resample,project:F.npy"; `load_array` reads the files.
std::vector<Replacement> parse_ablations(const std::string& text,
                                         const std::function<Tensor(const std::string& file)>& load_array);

}  // namespace microtome::api
