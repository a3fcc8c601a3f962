// Multiply-adds of the products with weights (attention itself is not counted), for one row: what costs are reckoned from.
#pragma once

#include "microtome/model/config.h"

namespace microtome {

struct BlockMacs {
  int64_t q, kv, o, mlp;

  explicit BlockMacs(const Config& c)
      : q(c.d_model * c.n_heads * c.d_head),
        kv(2 * c.d_model * c.n_kv_heads * c.d_head),
        o(c.n_heads * c.d_head * c.d_model),
        mlp(c.has_mlp() ? (c.gated_mlp ? 3 : 2) * c.d_model * c.d_mlp : 0) {}
  int64_t total() const { return q + kv + o + mlp; }
};

}  // namespace microtome
