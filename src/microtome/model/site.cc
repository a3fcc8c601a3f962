#include "microtome/model/site.h"

#include <fnmatch.h>

#include <algorithm>
#include <cctype>

#include "microtome/base/edit_distance.h"
#include "microtome/base/error.h"

namespace microtome {
namespace {

struct Row {
  const char* name;   // within "blocks.{l}." for those in a block
  const char* brief;  // short form
  SiteShape shape;
  bool in_block;
};

// In the order of SiteKind.
constexpr Row kRows[kSiteKinds] = {
    {"hook_embed", "embed", SiteShape::kStream, false},
    {"hook_pos_embed", "pos_embed", SiteShape::kStream, false},
    {"hook_resid_pre", "resid_pre", SiteShape::kStream, true},
    {"hook_attn_in", "attn_in", SiteShape::kHeadStream, true},
    {"hook_q_input", "q_input", SiteShape::kHeadStream, true},
    {"hook_k_input", "k_input", SiteShape::kKvHeadStream, true},
    {"hook_v_input", "v_input", SiteShape::kKvHeadStream, true},
    {"ln1.hook_scale", "scale.ln1", SiteShape::kScale, true},
    {"ln1.hook_normalized", "normalized.ln1", SiteShape::kStream, true},
    {"attn.hook_attn_input", "attn_input", SiteShape::kStream, true},
    {"attn.hook_q", "q", SiteShape::kHeads, true},
    {"attn.hook_k", "k", SiteShape::kKvHeads, true},
    {"attn.hook_v", "v", SiteShape::kKvHeads, true},
    {"attn.hook_rot_q", "rot_q", SiteShape::kHeads, true},
    {"attn.hook_rot_k", "rot_k", SiteShape::kKvHeads, true},
    {"attn.hook_attn_scores", "attn_scores", SiteShape::kPattern, true},
    {"attn.hook_pattern", "pattern", SiteShape::kPattern, true},
    {"attn.hook_z", "z", SiteShape::kHeads, true},
    {"attn.hook_result", "result", SiteShape::kHeadStream, true},
    {"hook_attn_out", "attn_out", SiteShape::kStream, true},
    {"hook_resid_mid", "resid_mid", SiteShape::kStream, true},
    {"hook_mlp_in", "mlp_in", SiteShape::kStream, true},
    {"ln2.hook_scale", "scale.ln2", SiteShape::kScale, true},
    {"ln2.hook_normalized", "normalized.ln2", SiteShape::kStream, true},
    {"mlp.hook_pre", "pre", SiteShape::kMlp, true},
    {"mlp.hook_pre_linear", "pre_linear", SiteShape::kMlp, true},
    {"mlp.hook_post", "post", SiteShape::kMlp, true},
    {"hook_mlp_out", "mlp_out", SiteShape::kStream, true},
    {"hook_resid_post", "resid_post", SiteShape::kStream, true},
    {"ln_final.hook_scale", "scale", SiteShape::kScale, false},
    {"ln_final.hook_normalized", "normalized", SiteShape::kStream, false},
    {"unembed.hook_in", "unembed_in", SiteShape::kStream, false},
    {"unembed.hook_out", "unembed_out", SiteShape::kVocab, false},
    {"logits", "logits", SiteShape::kVocab, false},
};

// Names that TransformerLens 3 gives to the same places; those whose value differs from any site here are left out.
struct Alias {
  const char* name;
  SiteKind kind;
};
constexpr Alias kAliases[] = {
    {"embed.hook_out", SiteKind::kEmbed}, {"pos_embed.hook_out", SiteKind::kPosEmbed}, {"hook_in", SiteKind::kResidPre},
    {"hook_out", SiteKind::kResidPost},   {"ln1.hook_in", SiteKind::kResidPre},        {"ln2.hook_in", SiteKind::kMlpIn},
    {"attn.q.hook_out", SiteKind::kQ},    {"attn.k.hook_out", SiteKind::kK},           {"attn.v.hook_out", SiteKind::kV},
    {"attn.o.hook_in", SiteKind::kZ},     {"attn.o.hook_out", SiteKind::kAttnOut},     {"attn.hook_out", SiteKind::kAttnOut},
    {"mlp.hook_out", SiteKind::kMlpOut},  {"mlp.out.hook_in", SiteKind::kMlpPost},
};

const Row& row_of(SiteKind kind) { return kRows[static_cast<int>(kind)]; }

bool kind_exists(SiteKind kind, const Config& c) {
  const bool normed = c.norm != NormKind::kNone;
  switch (kind) {
    case SiteKind::kPosEmbed: return c.positions == PositionKind::kLearned || c.positions == PositionKind::kShortformer;
    case SiteKind::kLn1Scale:
    case SiteKind::kLn1Normalized: return normed;
    case SiteKind::kAttentionInput: return c.positions == PositionKind::kShortformer;
    case SiteKind::kRotQ:
    case SiteKind::kRotK: return c.positions == PositionKind::kRotary && c.rotary > 0;
    case SiteKind::kResidMid: return c.has_resid_mid();
    case SiteKind::kMlpIn:
    case SiteKind::kMlpPre:
    case SiteKind::kMlpPost:
    case SiteKind::kMlpOut: return c.mlp;
    case SiteKind::kMlpPreLinear: return c.mlp && c.gated_mlp;
    case SiteKind::kLn2Scale:
    case SiteKind::kLn2Normalized: return c.mlp && normed;
    case SiteKind::kLnFinalScale:
    case SiteKind::kLnFinalNormalized: return normed && c.final_norm;
    default: return true;
  }
}

std::string nearest_name(std::string_view pattern, const Config& config) {
  std::string best;
  size_t best_distance = SIZE_MAX;
  for (const Site& site : all_sites(config)) {
    const std::string name = site_name(site);
    const size_t distance = edit_distance(pattern, name);
    if (distance < best_distance) best = name, best_distance = distance;
  }
  return best;
}

std::vector<Site> match_aliases(const std::string& pattern, const Config& config) {
  std::vector<Site> found;
  for (const Site& site : all_sites(config)) {
    const auto matches = [&](const Alias& alias) {
      const std::string name = site.layer >= 0 ? fmt::format("blocks.{}.{}", site.layer, alias.name) : alias.name;
      return alias.kind == site.kind && ::fnmatch(pattern.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
    };
    if (std::any_of(std::begin(kAliases), std::end(kAliases), matches)) found.push_back(site);
  }
  return found;
}

// Reads a layer number at the end of `text` ("resid_pre12", "resid_pre.12"); -1 if there is none.
int take_layer(std::string_view& text) {
  size_t digits = 0;
  while (digits < text.size() && digits < 6 && std::isdigit(static_cast<unsigned char>(text[text.size() - 1 - digits]))) ++digits;
  if (digits == 0) return -1;
  const int layer = std::stoi(std::string(text.substr(text.size() - digits)));
  text.remove_suffix(digits);
  if (!text.empty() && text.back() == '.') text.remove_suffix(1);
  return layer;
}

// "scale5.ln1" names the norm last.
std::vector<Site> match_brief(std::string_view pattern, const Config& config) {
  std::string_view base = pattern;
  std::string norm;
  if (base.size() > 4 && (base.ends_with(".ln1") || base.ends_with(".ln2"))) {
    norm = base.substr(base.size() - 4);
    base.remove_suffix(4);
  }
  bool every_layer = false;
  if (base.ends_with('*')) {
    base.remove_suffix(1);
    if (base.ends_with('.')) base.remove_suffix(1);
    every_layer = true;
  }
  const int layer = every_layer ? -1 : take_layer(base);
  const std::string brief = std::string(base) + norm;
  std::vector<Site> found;
  for (const Site& site : all_sites(config)) {
    const Row& row = row_of(site.kind);
    if (brief == row.brief && (layer < 0 || (row.in_block && site.layer == layer))) found.push_back(site);
  }
  return found;
}

}  // namespace

SiteShape site_shape(SiteKind kind) { return row_of(kind).shape; }
bool site_in_block(SiteKind kind) { return row_of(kind).in_block; }

std::string site_name(const Site& site) {
  const Row& row = row_of(site.kind);
  return row.in_block ? fmt::format("blocks.{}.{}", site.layer, row.name) : row.name;
}

int64_t site_heads(SiteShape shape, const Config& c) {
  switch (shape) {
    case SiteShape::kHeads:
    case SiteShape::kHeadStream:
    case SiteShape::kPattern: return c.n_heads;
    case SiteShape::kKvHeads:
    case SiteShape::kKvHeadStream: return c.n_kv_heads;
    default: return 1;
  }
}

int64_t site_width(SiteShape shape, const Config& c) {
  switch (shape) {
    case SiteShape::kScale: return 1;
    case SiteShape::kStream:
    case SiteShape::kHeadStream:
    case SiteShape::kKvHeadStream: return c.d_model;
    case SiteShape::kHeads:
    case SiteShape::kKvHeads: return c.d_head;
    case SiteShape::kMlp: return c.d_mlp;
    case SiteShape::kVocab: return c.vocab;
    case SiteShape::kPattern: return 0;
  }
  return 0;
}

bool site_exists(const Site& site, const Config& c) {
  if (site_in_block(site.kind) != (site.layer >= 0) || site.layer >= c.n_layers) return false;
  return kind_exists(site.kind, c);
}

std::vector<Site> all_sites(const Config& c) {
  std::vector<Site> sites;
  const auto add = [&](SiteKind first, SiteKind last, int layer) {
    for (int k = static_cast<int>(first); k <= static_cast<int>(last); ++k)
      if (kind_exists(static_cast<SiteKind>(k), c)) sites.push_back({static_cast<SiteKind>(k), layer});
  };
  add(SiteKind::kEmbed, SiteKind::kPosEmbed, -1);
  for (int l = 0; l < c.n_layers; ++l) add(SiteKind::kResidPre, SiteKind::kResidPost, l);
  add(SiteKind::kLnFinalScale, SiteKind::kLogits, -1);
  return sites;
}

std::vector<Site> match_sites(std::string_view pattern, const Config& c) {
  std::vector<Site> found;
  const std::string text(pattern);
  if (text.size() <= 256 && text.find('\0') == std::string::npos) {
    for (const Site& site : all_sites(c)) {
      const std::string name = site_name(site);
      const bool matches =
          site.kind == SiteKind::kLogits ? name == text : ::fnmatch(text.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
      if (matches) found.push_back(site);
    }
    if (found.empty()) found = match_brief(pattern, c);
    if (found.empty()) found = match_aliases(text, c);
  }
  if (found.empty())
    throw Error(ErrorKind::kNotFound,
                "site \"{}\" does not exist in this model; the nearest is \"{}\" (`microtome inspect` lists all)",
                printable(pattern), nearest_name(pattern.substr(0, 256), c));
  return found;
}

}  // namespace microtome
