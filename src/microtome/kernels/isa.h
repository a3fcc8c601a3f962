// Instruction sets: the Highway targets compiled in, best first. MICROTOME_ISA=AVX3|AVX2|SSE4|SSSE3|SCALAR (as Highway spells
// them) takes one away from the best; unknown or unavailable names are ignored with one line on standard error.
#pragma once

#include <string>
#include <vector>

namespace microtome {

// Names of the targets this processor can run, best first.
std::vector<std::string> supported_isas();

// The one in use.
std::string current_isa();

// For tests and benchmarks: false if `name` is not supported. "": the best.
bool set_isa(const std::string& name);

}  // namespace microtome
