// A patching map as pictures: panels of two axes each, and the strongest cells.
//
//   const Json map = patch(context, options);
//   for (const PatchPanel& p : patch_panels(map)) ...     // what the terminal and the SVG image draw
//   write(patch_svg(map));                                // one image, light or dark as the viewer prefers
//
// Maps of more than two axes are drawn by their layers and heads, each with the value that lies farthest from the run it is
// patched into, and the strongest heads by themselves. Pure functions of the command's JSON; text out of models and prompts is
// escaped and inert. Any thread.
#pragma once

#include <string>
#include <vector>

#include "microtome/base/json.h"

namespace microtome::api {

struct PatchPanel {
  std::string title;                  // empty, or what sets it apart from the others
  std::string row_axis, column_axis;  // "layer", "position"
  std::vector<std::string> rows, columns;
  std::vector<std::string> columns_below;  // a second line of labels (tokens), or empty
  std::vector<double> values;              // [rows, columns]; NaN: none
  std::vector<std::string> notes;          // [rows, columns] what to add when a cell is described, or empty

  double at(size_t row, size_t column) const { return values[row * columns.size() + column]; }
};

std::vector<PatchPanel> patch_panels(const Json& map);

// The largest distance of any value from the map's baseline, at least 0.01: where colours end.
double patch_scale(const Json& map);

// A cell's number: "·" if exactly the baseline (nothing ran), "0" or "1" if it rounds to it, else two decimals, or percent.
std::string patch_number(double value, double baseline, bool percent = false);

struct PatchCell {
  std::string name;  // "layer 9, position 13"
  double value = 0, low = 0, high = 0, raw = 0;
};
// The cells farthest from the baseline, strongest first; those at the baseline are left out.
std::vector<PatchCell> patch_strongest(const Json& map, size_t n);

// "How much of logit-diff is restored when ..."; and the two ends of the scale in words.
std::string patch_title(const Json& map);
std::string patch_caption(const Json& map);

std::string patch_svg(const Json& map);

}  // namespace microtome::api
