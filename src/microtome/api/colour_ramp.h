// A sequential scale of colours, perceptually even: from the background to one hue, straight through OKLab (Ottosson 2020), in
// steps; and for each step the text colour, black or white, that reads better on it (at least 4.5 : 1).
#pragma once

#include <string>

namespace microtome::api {

inline constexpr int kRampSteps = 11;

struct RampColour {
  std::string fill;  // "#1f6fb2"
  std::string text;  // "#000000" or "#ffffff"
};

// step 0 is the background.
RampColour ramp_colour(int step, bool dark);

// The step of a value in 0..1; outside, or not a number: the nearest end, or 0.
int ramp_step(double value);

}  // namespace microtome::api
