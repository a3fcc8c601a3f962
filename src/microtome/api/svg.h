// What the SVG pictures of results share: text elements, the opening of a picture with its paper, and its style sheet.
//
//   std::string out = svg_begin("heads", 640, 200, "Scores of attention heads", svg_style("heads", 10, {}));
//   out += svg_text(16, 26, "ink title", "Attention heads") + "</svg>\n";
//
// Pure functions: any number of threads at once.
#pragma once

#include <string>
#include <string_view>

namespace microtome::api {

// For text and attribute values: & < > " as entities.
std::string svg_escaped(std::string_view text);

// A text element; `more`: further attributes, with a space in front.
std::string svg_text(int x, int y, const std::string& css, const std::string& text, const std::string& more = "");

// CSS rules that a picture adds to the shared ones.
struct SvgRules {
  std::string sizes, light, dark;  // of type, after the title's; after all others; the dark scheme's
};

// A style element whose rules hold within class `css`: paper, ink, faint, title and edge, light and dark.
std::string svg_style(const std::string& css, int font_pixels, const SvgRules& rules);

// The svg element's start tag, the style element and the paper behind everything. The caller closes it with </svg>.
std::string svg_begin(const std::string& css, int width, int height, std::string_view label, const std::string& style);

}  // namespace microtome::api
