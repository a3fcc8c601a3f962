#include "microtome/api/svg.h"

#include <fmt/format.h>

namespace microtome::api {

std::string svg_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else out += c;
  }
  return out;
}

std::string svg_text(int x, int y, const std::string& css, const std::string& text, const std::string& more) {
  return fmt::format("<text x=\"{}\" y=\"{}\" class=\"{}\"{}>{}</text>\n", x, y, css, more, svg_escaped(text));
}

std::string svg_style(const std::string& css, int font_pixels, const SvgRules& rules) {
  return fmt::format(
      "<style>.{0}{{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:{1}px}}.{0} .paper{{fill:#fbfbfa}}"
      ".{0} .ink{{fill:#1b1f24}}.{0} .faint{{fill:#59616b}}.{0} .title{{font-size:16px;font-weight:bold}}{2}"
      ".{0} .edge{{fill:none;stroke:#8a929c}}{3}"
      "@media (prefers-color-scheme:dark){{.{0} .paper{{fill:#14181d}}.{0} .ink{{fill:#e8ebee}}.{0} .faint{{fill:#a2abb5}}"
      ".{0} .edge{{stroke:#78828d}}{4}}}</style>\n",
      css, font_pixels, rules.sizes, rules.light, rules.dark);
}

std::string svg_begin(const std::string& css, int width, int height, std::string_view label, const std::string& style) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"{0}\" width=\"{1}\" height=\"{2}\" viewBox=\"0 0 {1} {2}\" "
      "role=\"img\" aria-label=\"{3}\">\n{4}<rect class=\"paper\" width=\"{1}\" height=\"{2}\"/>\n",
      css, width, height, svg_escaped(label), style);
}

}  // namespace microtome::api
