// Ablation: what stands in the place of a source's output where an edge is not part of a circuit.
//
//   Ablation a{.kind = AblationKind::kMean, .references = abc_prompts};
//
// resample: its value in the corrupted prompt's run. zero: 0. mean: its mean over all positions of all reference prompts.
// mean-position: its mean at that position over the reference prompts of the example's group and length. Biases that belong to
// no source (b_O) always stay.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace microtome {

enum class AblationKind : uint8_t { kResample, kZero, kMean, kMeanPosition };

// "resample", ...; the reverse throws InvalidArgument with the names there are.
std::string_view ablation_name(AblationKind kind);
AblationKind parse_ablation(std::string_view name);

struct Ablation {
  AblationKind kind = AblationKind::kResample;
  // What means are over; empty: the corrupted prompts. Of an example's group where as many as examples are given.
  std::vector<std::vector<int32_t>> references;
  std::vector<std::string> groups;  // of each example (its template); empty: all the same
};

}  // namespace microtome
