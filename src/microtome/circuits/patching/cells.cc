#include "microtome/circuits/patching/cells.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "microtome/base/edit_distance.h"
#include "microtome/base/error.h"

namespace microtome {
namespace {

struct SiteName {
  const char* name;
  SiteKind kind;
};
constexpr std::array<SiteName, 11> kSites{{{"resid_pre", SiteKind::kResidPre},
                                           {"resid_mid", SiteKind::kResidMid},
                                           {"resid_post", SiteKind::kResidPost},
                                           {"attn_out", SiteKind::kAttnOut},
                                           {"mlp_out", SiteKind::kMlpOut},
                                           {"z", SiteKind::kZ},
                                           {"q", SiteKind::kQ},
                                           {"k", SiteKind::kK},
                                           {"v", SiteKind::kV},
                                           {"pattern", SiteKind::kPattern},
                                           {"mlp_post", SiteKind::kMlpPost}}};

using Axis = PatchAxis;
struct AxesName {
  const char* name;
  std::vector<Axis> axes;
};
const std::vector<AxesName>& known_axes() {
  static const std::vector<AxesName> table{{"layer", {Axis::kLayer}},
                                           {"layer,pos", {Axis::kLayer, Axis::kPos}},
                                           {"layer,head", {Axis::kLayer, Axis::kHead}},
                                           {"layer,head,pos", {Axis::kLayer, Axis::kHead, Axis::kPos}},
                                           {"layer,head,dst,src", {Axis::kLayer, Axis::kHead, Axis::kPos, Axis::kSrc}},
                                           {"layer,neuron", {Axis::kLayer, Axis::kNeuron}}};
  return table;
}

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kInvalidArgument, message); }

bool has_heads(SiteKind site) {
  const SiteShape shape = site_shape(site);
  return shape == SiteShape::kHeads || shape == SiteShape::kKvHeads || shape == SiteShape::kPattern;
}

void check_site(const Config& c, SiteKind site) {
  if (site_exists({site, 0}, c)) return;
  if (!c.has_mlp()) refuse(fmt::format("site {}: this model has no MLPs; take resid_pre, attn_out or z", patch_site_name(site)));
  refuse(
      fmt::format("site {}: attention and MLP of this model ({}) read the same stream, there is no state between them; take "
                  "resid_pre, attn_out or mlp_out",
                  patch_site_name(site), c.family));
}

int64_t axis_size(const Config& c, SiteKind site, Axis axis, int64_t longest) {
  const SiteShape shape = site_shape(site);
  switch (axis) {
    case Axis::kLayer: return c.n_layers;
    case Axis::kHead: return site_heads(shape, c);
    case Axis::kPos:
    case Axis::kSrc: return longest;
    case Axis::kNeuron: return site_width(shape, c);
  }
  return 0;
}

const std::vector<int64_t>& selected(const CellSelection& s, Axis axis) {
  switch (axis) {
    case Axis::kLayer: return s.layers;
    case Axis::kHead: return s.heads;
    case Axis::kPos: return s.positions;
    case Axis::kSrc: return s.sources;
    case Axis::kNeuron: return s.neurons;
  }
  return s.layers;
}

const char* axis_name(Axis axis, bool pattern) {
  switch (axis) {
    case Axis::kLayer: return "layer";
    case Axis::kHead: return "head";
    case Axis::kPos: return pattern ? "dst" : "pos";
    case Axis::kSrc: return "src";
    case Axis::kNeuron: return "neuron";
  }
  return "";
}

// The option that chooses values of an axis.
const char* selection_name(Axis axis) {
  switch (axis) {
    case Axis::kLayer: return "layers";
    case Axis::kHead: return "heads";
    case Axis::kPos: return "positions";
    case Axis::kSrc: return "sources";
    case Axis::kNeuron: return "neurons";
  }
  return "";
}

std::string axes_text(const std::vector<Axis>& axes) {
  for (const AxesName& a : known_axes())
    if (a.axes == axes) return a.name;
  return "";
}

void check_axes(SiteKind site, const std::vector<Axis>& axes) {
  const bool pattern = site == SiteKind::kPattern;
  for (const Axis a : axes) {
    if (a == Axis::kHead && !has_heads(site))
      refuse(fmt::format("site {} has no heads; cut it by layer,pos or layer,neuron", patch_site_name(site)));
    if (a == Axis::kSrc && !pattern)
      refuse(fmt::format("site {} has no source positions; dst,src belong to the pattern", patch_site_name(site)));
    if (a == Axis::kNeuron && has_heads(site))
      refuse(fmt::format("site {} is cut by heads; layer,neuron belongs to mlp_post", patch_site_name(site)));
  }
}

}  // namespace

SiteKind parse_patch_site(std::string_view name) {
  std::string names;
  std::vector<std::string> list;
  for (const SiteName& s : kSites) {
    if (s.name == name) return s.kind;
    list.emplace_back(s.name);
    names += (names.empty() ? "" : ", ") + list.back();
  }
  refuse(fmt::format("site \"{}\" cannot be patched{}; expected one of {}", printable(name), did_you_mean(name, list), names));
}

std::string_view patch_site_name(SiteKind kind) {
  for (const SiteName& s : kSites)
    if (s.kind == kind) return s.name;
  return "?";
}

std::vector<PatchAxis> parse_axes(std::string_view text) {
  std::string names;
  for (const AxesName& a : known_axes()) {
    if (a.name == text) return a.axes;
    names += std::string(a.name) + " | ";
  }
  refuse(fmt::format("by \"{}\": expected {}head,head", printable(text), names));
}

std::string_view default_axes(SiteKind site) { return has_heads(site) ? "layer,head" : "layer,pos"; }

std::vector<int64_t> parse_selection(std::string_view text, std::string_view what) {
  std::vector<int64_t> out;
  const auto bad = [&]() {
    refuse(fmt::format("{} \"{}\": expected numbers and ranges A:B, as in 3,7,10:20", what, printable(text)));
  };
  const auto number = [&](std::string_view s) {
    int64_t value = -1;
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (error != std::errc() || end != s.data() + s.size() || value < 0 || value > (int64_t{1} << 24)) bad();
    return value;
  };
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view piece = text.substr(begin, end - begin);
    const size_t colon = piece.find(':');
    if (colon == std::string_view::npos) {
      out.push_back(number(piece));
    } else {
      const int64_t a = number(piece.substr(0, colon)), b = number(piece.substr(colon + 1));
      if (a >= b) bad();
      for (int64_t i = a; i < b; ++i) out.push_back(i);
    }
    begin = end + 1;
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Slice slice_of(const Cell& c) {
  Slice s;
  const auto one = [](const std::optional<int64_t>& i) { return i ? std::optional(Range{*i, *i + 1}) : std::nullopt; };
  s.pos = one(c.pos);
  s.head = one(c.head);
  s.neuron = c.src ? one(c.src) : one(c.neuron);
  return s;
}

size_t CellGrid::size() const {
  size_t n = 1;
  for (const auto& t : ticks) n *= t.size();
  return n;
}

Cell CellGrid::cell(size_t index) const {
  Cell c;
  for (size_t a = axes.size(); a-- > 0;) {
    const int64_t value = ticks[a][index % ticks[a].size()];
    index /= ticks[a].size();
    switch (axes[a]) {
      case Axis::kLayer: c.layer = static_cast<int>(value); break;
      case Axis::kHead: c.head = value; break;
      case Axis::kPos: c.pos = value; break;
      case Axis::kSrc: c.src = value; break;
      case Axis::kNeuron: c.neuron = value; break;
    }
  }
  return c;
}

CellGrid make_grid(const Config& config, SiteKind site, std::vector<PatchAxis> axes, const CellSelection& selection,
                   int64_t longest) {
  check_site(config, site);
  check_axes(site, axes);
  CellGrid grid;
  grid.site = site;
  const bool pattern = std::find(axes.begin(), axes.end(), Axis::kSrc) != axes.end() || site == SiteKind::kPattern;
  for (const Axis axis : {Axis::kLayer, Axis::kHead, Axis::kPos, Axis::kSrc, Axis::kNeuron})
    if (!selected(selection, axis).empty() && std::find(axes.begin(), axes.end(), axis) == axes.end())
      refuse(fmt::format("{} are chosen, but the map has no such axis; it is cut by {}", selection_name(axis), axes_text(axes)));
  for (const Axis axis : axes) {
    const int64_t n = axis_size(config, site, axis, longest);
    std::vector<int64_t> values = selected(selection, axis);
    if (values.empty()) {
      values.resize(static_cast<size_t>(n));
      std::iota(values.begin(), values.end(), 0);
    }
    if (values.back() >= n) refuse(fmt::format("{} {} is outside of 0:{}", axis_name(axis, pattern), values.back(), n));
    grid.names.emplace_back(axis_name(axis, pattern));
    grid.ticks.push_back(std::move(values));
  }
  grid.axes = std::move(axes);
  return grid;
}

}  // namespace microtome
