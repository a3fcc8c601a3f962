#include "microtome/circuits/sweep/cost.h"

#include <algorithm>

#include "microtome/model/macs.h"

namespace microtome::sweep {
int64_t plain_macs(const Item& item, const Config& c) {
  return item.host->length() * (c.n_layers * BlockMacs(c).total() + c.d_model * c.vocab);
}

int64_t macs_onward(const Item& item, const std::vector<int32_t>& changed, const Config& c) {
  if (changed.empty()) return 0;
  const BlockMacs cost(c);
  const int last = static_cast<int>(c.n_layers) - 1;
  const std::vector<int32_t> wanted = Layers::wanted(item, changed[0]);
  const auto wanted_changed = std::count_if(wanted.begin(), wanted.end(),
                                            [&](int32_t p) { return std::binary_search(changed.begin(), changed.end(), p); });
  const int64_t n = item.host->length() - changed[0], w = std::ssize(wanted);
  const int64_t columns = item.host->spec.columns.empty() ? c.vocab : std::ssize(item.host->spec.columns);
  int64_t total = 0, in_stream = std::ssize(changed), asking = wanted_changed;
  int l = item.route.layer;
  if (item.route.point != Point::kPre) {
    if (item.route.point == Point::kMid) total += (l == last ? wanted_changed : in_stream) * cost.mlp;
    if (l++ == last) return total + wanted_changed * c.d_model * columns;
  }
  for (; l <= last; ++l) {
    if (edited_at(item.route, *item.intervention, l)) total += n * cost.total();
    else if (l == last) total += in_stream * cost.kv + asking * cost.q + w * (cost.o + cost.mlp);
    else total += in_stream * (cost.q + cost.kv) + n * (cost.o + cost.mlp);
    in_stream = n;
    asking = w;
  }
  return total + w * c.d_model * columns;
}

}  // namespace microtome::sweep
