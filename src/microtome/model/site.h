// Site: a named place in the forward pass, in TransformerLens' vocabulary.
//
//   Site s{SiteKind::kZ, 5};
//   site_name(s);                                   // "blocks.5.attn.hook_z"
//   match_sites("blocks.*.hook_resid_post", config) // every layer's, in forward order
//
// A new activation is one enum value, one row in site.cc's table, and one line where it is produced.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/model/config.h"

namespace microtome {

// In the order in which one forward pass produces them.
enum class SiteKind : uint8_t {
  kEmbed,
  kPosEmbed,
  kResidPre,
  kAttnIn,  // the stream as each query head reads it
  kQInput,
  kKInput,
  kVInput,
  kLn1Scale,
  kLn1Normalized,
  kAttentionInput,  // shortformer: what queries and keys read
  kQ,
  kK,
  kV,
  kRotQ,
  kRotK,
  kAttnScores,
  kPattern,
  kZ,
  kResult,
  kAttnOut,
  kResidMid,
  kMlpIn,
  kLn2Scale,
  kLn2Normalized,
  kMlpPre,
  kMlpPreLinear,
  kMlpPost,
  kMlpOut,
  kResidPost,
  kLnFinalScale,
  kLnFinalNormalized,
  kUnembedIn,
  kUnembedOut,
  kLogits,
};
inline constexpr int kSiteKinds = static_cast<int>(SiteKind::kLogits) + 1;

// How one token's values at a site are laid out.
enum class SiteShape : uint8_t {
  kScale,         // [1]
  kStream,        // [d_model]
  kHeads,         // [H, d_head]
  kKvHeads,       // [H_kv, d_head]
  kHeadStream,    // [H, d_model]
  kKvHeadStream,  // [H_kv, d_model]
  kMlp,           // [d_mlp]
  kVocab,         // [vocab]
  kPattern,       // the exception: a sequence's [H, queries, keys]
};

struct Site {
  SiteKind kind = SiteKind::kResidPre;
  int layer = -1;  // -1: not in a block
  auto operator<=>(const Site&) const = default;
};

SiteShape site_shape(SiteKind kind);
bool site_in_block(SiteKind kind);
std::string site_name(const Site& site);

// Heads of a site with that shape (1 where it has none) and values per head; for patterns the width is 0.
int64_t site_heads(SiteShape shape, const Config& config);
int64_t site_width(SiteShape shape, const Config& config);

// True if this model produces the site.
bool site_exists(const Site& site, const Config& config);

// All sites of a model, layer by layer in forward order.
std::vector<Site> all_sites(const Config& config);

// Sites that a pattern names: a full name, a glob over full names (* and ?; `logits` only by name), or a short form:
// `resid_pre` (every layer), `resid_pre5`, `resid_pre.5`, `q3`, `scale3.ln1`, `pattern*`, or TransformerLens 3's name of the same
// place (`blocks.3.attn.o.hook_in`). In forward order.
// Throws NotFound with the nearest existing name if nothing matches.
std::vector<Site> match_sites(std::string_view pattern, const Config& config);

}  // namespace microtome
