// Cells: the places of a patching map. A site, and the axes along which it is cut.
//
//   const CellGrid grid = make_grid(config, SiteKind::kZ, parse_axes("layer,head"), {}, longest);
//   for (size_t i = 0; i < grid.size(); ++i) { Cell c = grid.cell(i); ... slice_of(c) ... }
//
// Cells are numbered row by row, the last axis fastest. Pure; any thread.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/model/plan.h"

namespace microtome {

// On a pattern `pos` is the query (written dst) and `src` the key.
enum class PatchAxis : uint8_t { kLayer, kHead, kPos, kSrc, kNeuron };

// "resid_pre", ... of the sites that patching knows; throws InvalidArgument with the list of them.
SiteKind parse_patch_site(std::string_view name);
std::string_view patch_site_name(SiteKind kind);

// "layer,pos", "layer,head,dst,src", ...; throws InvalidArgument with the list of them.
std::vector<PatchAxis> parse_axes(std::string_view text);
// "layer,head" where the site has heads, else "layer,pos".
std::string_view default_axes(SiteKind site);

// Which values of an axis are wanted; empty: all.
struct CellSelection {
  std::vector<int64_t> layers, heads, positions, sources, neurons;
};
// "3,7,10:20" (the end excluded); throws InvalidArgument naming `what`.
std::vector<int64_t> parse_selection(std::string_view text, std::string_view what);

struct Cell {
  int layer = 0;
  std::optional<int64_t> head, pos, src, neuron;
};
Slice slice_of(const Cell& cell);

struct CellGrid {
  SiteKind site = SiteKind::kResidPre;
  std::vector<PatchAxis> axes;
  std::vector<std::string> names;           // of the axes
  std::vector<std::vector<int64_t>> ticks;  // of each axis

  size_t size() const;
  Cell cell(size_t index) const;
};

// `longest`: tokens of the longest prompt. Throws InvalidArgument for a site that the model lacks (with those it has), axes that
// the site does not have, and selected values outside of an axis.
CellGrid make_grid(const Config& config, SiteKind site, std::vector<PatchAxis> axes, const CellSelection& selection,
                   int64_t longest);

}  // namespace microtome
