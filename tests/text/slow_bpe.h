// Byte-pair encoding as it is defined, for comparison with the fast one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "draws.h"
#include "microtome/base/error.h"
#include "microtome/text/bpe.h"

namespace microtome {

// The definition: merge the leftmost pair of the best rank until none is left.
struct SlowBpe {
  std::map<std::string, int32_t> ids;
  std::map<std::pair<std::string, std::string>, int> ranks;

  std::vector<int32_t> encode(const std::string& piece) const {
    std::vector<std::string> symbols;
    for (const char c : piece) {
      if (ids.count(std::string(1, c))) symbols.emplace_back(1, c);
    }
    while (true) {
      std::optional<std::pair<int, size_t>> best;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = ranks.find({symbols[i], symbols[i + 1]});
        if (found != ranks.end() && (!best || found->second < best->first)) best = {found->second, i};
      }
      if (!best) break;
      symbols[best->second] += symbols[best->second + 1];
      symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best->second) + 1);
    }
    std::vector<int32_t> out;
    for (const std::string& s : symbols) out.push_back(ids.at(s));
    return out;
  }
};

// Random merges of tokens that exist, as training would make them; some tokens have no merge that leads to them.
inline void make_random(Draws& draws, std::string_view alphabet, int n_merges, SlowBpe& slow, Bpe& fast) {
  std::vector<std::string> tokens;
  const auto add = [&](const std::string& token) {
    if (!slow.ids.emplace(token, static_cast<int32_t>(tokens.size())).second) return;
    fast.add_token(static_cast<int32_t>(tokens.size()), token);
    tokens.push_back(token);
  };
  for (const char c : alphabet) add(std::string(1, c));
  for (int rank = 0; rank < n_merges; ++rank) {
    const std::string left = tokens[draws.below(tokens.size())], right = tokens[draws.below(tokens.size())];
    if (left.size() + right.size() > 12 || slow.ranks.count({left, right})) continue;
    add(left + right);
    if (draws.below(8) == 0) continue;
    MT_CHECK(fast.add_merge(left, right));
    slow.ranks[{left, right}] = rank;
  }
  fast.finish();
}

}  // namespace microtome
