#include "microtome/api/colour_ramp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace microtome::api {
namespace {

using Triple = std::array<double, 3>;

// OKLab: lightness, and two axes of colour. The ends of the scale: background, and the hue at its strongest.
constexpr Triple kLightEnds[2] = {{0.985, 0.0, 0.0}, {0.42, -0.02, -0.14}};
constexpr Triple kDarkEnds[2] = {{0.20, -0.002, -0.012}, {0.86, -0.05, -0.09}};

Triple linear_rgb(const Triple& lab) {
  const double l = std::pow(lab[0] + 0.3963377774 * lab[1] + 0.2158037573 * lab[2], 3);
  const double m = std::pow(lab[0] - 0.1055613458 * lab[1] - 0.0638541728 * lab[2], 3);
  const double s = std::pow(lab[0] - 0.0894841775 * lab[1] - 1.2914855480 * lab[2], 3);
  const Triple rgb{4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
                   -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
                   -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
  return {std::clamp(rgb[0], 0.0, 1.0), std::clamp(rgb[1], 0.0, 1.0), std::clamp(rgb[2], 0.0, 1.0)};
}

int srgb_byte(double x) {
  const double encoded = x <= 0.0031308 ? 12.92 * x : 1.055 * std::pow(x, 1 / 2.4) - 0.055;
  return static_cast<int>(std::lround(255 * encoded));
}

}  // namespace

RampColour ramp_colour(int step, bool dark) {
  const double t = static_cast<double>(step) / (kRampSteps - 1);
  const Triple* ends = dark ? kDarkEnds : kLightEnds;
  Triple lab;
  for (int i = 0; i < 3; ++i) lab[i] = ends[0][i] + t * (ends[1][i] - ends[0][i]);
  const Triple rgb = linear_rgb(lab);
  // WCAG 2: contrast (a + .05) / (b + .05) of relative luminances; black wins above 0.179.
  const double luminance = 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];
  return {fmt::format("#{:02x}{:02x}{:02x}", srgb_byte(rgb[0]), srgb_byte(rgb[1]), srgb_byte(rgb[2])),
          luminance > 0.179 ? "#000000" : "#ffffff"};
}

int ramp_step(double value) {
  if (!(value > 0)) return 0;
  return static_cast<int>(std::lround(std::min(value, 1.0) * (kRampSteps - 1)));
}

}  // namespace microtome::api
