// The spectra of heads as an SVG image.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/svg.h"
#include "microtome/api/weights.h"

namespace microtome::api {
namespace {

// Pixels.
constexpr int kPanel = 120, kRadius = 44, kTitle = 64, kMargin = 16, kColumns = 9;

std::string panel(const Json& row, int x, int y) {
  const Json& values = row["eigenvalues"];
  double most = 0;
  for (const Json& v : values) most = std::max(most, std::hypot(v[0].get<double>(), v[1].get<double>()));
  const std::string name = row.contains("from")
                               ? fmt::format("{}.{} → {}.{}", row["from"]["layer"].get<int>(), row["from"]["head"].get<int>(),
                                             row["to"]["layer"].get<int>(), row["to"]["head"].get<int>())
                               : fmt::format("{}.{}", row["layer"].get<int>(), row["head"].get<int>());
  const double score = row.contains("copying") ? row["copying"].get<double>() : row["score"].get<double>();
  std::string out = fmt::format(
      "<g transform=\"translate({} {})\"><title>head {}: score {:.4f}, Σ|λ| {:.4g}, largest |λ| {:.4g}</title>"
      "<text class=\"name\" y=\"{}\">{} · {:.3f}</text><circle class=\"rim\" r=\"{}\"/>"
      "<path class=\"axis\" d=\"M{} 0H{}M0 {}V{}\"/>",
      x, y, name, score, row["magnitude"].get<double>(), most, -kRadius - 6, name, score, kRadius, -kRadius, kRadius, -kRadius,
      kRadius);
  for (const Json& v : values) {
    const double re = v[0].get<double>(), im = v[1].get<double>(), size = std::hypot(re, im);
    if (most <= 0 || size <= 0) continue;
    const double r = kRadius * std::sqrt(size / most) / size;  // the square root of the magnitude, so that small ones part
    out += fmt::format("<circle class=\"{}\" cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"2\"/>", re >= 0 ? "plus" : "minus", re * r, -im * r);
  }
  return out + "</g>";
}

}  // namespace

std::string spectra_svg(const Json& result) {
  const Json& rows = result["rows"];
  const int n = static_cast<int>(rows.size()), columns = std::clamp(n, 5, kColumns), lines = (n + columns - 1) / columns;
  const int width = 2 * kMargin + columns * kPanel, height = kTitle + lines * kPanel + 2 * kMargin;
  const std::string what = result["verb"] == "matching" ? "QK table over tokens (matching)" : "OV table over tokens (copying)";
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\">"
      "<style>text{{font:13px system-ui,sans-serif;fill:#1b1b1f}}.name{{font-size:11px;text-anchor:middle}}"
      ".small{{font-size:11px}}.rim,.axis{{fill:none;stroke:#8a8a94;stroke-width:.6}}.plus{{fill:#1f6fb2}}"
      ".minus{{fill:none;stroke:#b2451f;stroke-width:1.2}}</style><rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>"
      "<text x=\"{2}\" y=\"26\">{3}: eigenvalues of each head's {4}</text>"
      "<text class=\"small\" x=\"{2}\" y=\"46\">complex plane; distance from the middle √(|λ| / largest |λ| of the head); full "
      "dot "
      "Re λ ≥ 0, ring Re λ &lt; 0; title: layer.head · Σλ / Σ|λ|</text>",
      width, height, kMargin, svg_escaped(result["model"].get<std::string>()), what);
  for (int i = 0; i < n; ++i)
    out += panel(rows[i], kMargin + (i % columns) * kPanel + kPanel / 2, kTitle + (i / columns) * kPanel + kPanel / 2 + 8);
  return out + "</svg>\n";
}

}  // namespace microtome::api
