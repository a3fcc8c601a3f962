// Ablation: what stands in the place of a source's output where an edge is not part of a circuit.
//
//   parse_ablation("resample")
//
// resample: its value in the corrupted prompt's run. zero: 0. mean: its mean over all positions of all corrupted prompts.
// mean-position: its mean at that position over the corrupted prompts of the same length. Biases that belong to no source (b_O)
// always stay.
#pragma once

#include <cstdint>
#include <string_view>

namespace microtome {

enum class AblationKind : uint8_t { kResample, kZero, kMean, kMeanPosition };

std::string_view ablation_name(AblationKind kind);
AblationKind parse_ablation(std::string_view name);

}  // namespace microtome
