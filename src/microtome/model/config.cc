#include "microtome/model/config.h"

#include "microtome/base/error.h"

namespace microtome {
namespace {

void require(bool good, const char* field, int64_t value, const char* expected) {
  if (!good) throw Error(ErrorKind::kCorrupt, "model configuration: {} is {}, expected {}", field, value, expected);
}

}  // namespace

void validate(const Config& c) {
  constexpr int64_t kMany = int64_t{1} << 20;
  require(c.n_layers >= 0 && c.n_layers <= 10000, "n_layers", c.n_layers, "0 to 10000");
  require(c.d_model >= 1 && c.d_model <= kMany, "d_model", c.d_model, "1 to 2^20");
  require(c.n_heads >= 1 && c.n_heads <= 65536, "n_heads", c.n_heads, "1 to 65536");
  require(c.n_kv_heads >= 1 && c.n_heads % c.n_kv_heads == 0, "n_kv_heads", c.n_kv_heads, "a divisor of n_heads");
  require(c.d_head >= 1 && c.d_head <= 65536, "d_head", c.d_head, "1 to 65536");
  require(c.n_heads * c.d_head <= kMany, "n_heads * d_head", c.n_heads * c.d_head, "at most 2^20");
  require(!c.mlp || (c.d_mlp >= 1 && c.d_mlp <= 4 * kMany), "d_mlp", c.d_mlp, "1 to 2^22");
  require(c.vocab >= 1 && c.vocab <= 16 * kMany, "vocab", c.vocab, "1 to 2^24");
  require(c.context >= 1 && c.context <= 1024 * kMany, "context", c.context, "1 to 2^30");
  require(c.rotary >= 0 && c.rotary <= c.d_head && c.rotary % 2 == 0, "rotary dimensions", c.rotary, "even, at most d_head");
  if (!(c.eps > 0 && c.eps < 1)) throw Error(ErrorKind::kCorrupt, "model configuration: eps is {}, expected 0 to 1", c.eps);
  if (c.rotary > 0 && !(c.rope_theta > 1e-3 && c.rope_theta < 1e15))
    throw Error(ErrorKind::kCorrupt, "model configuration: rope_theta is {}, expected a positive number", c.rope_theta);
  if (!(c.attention_scale > 0 && c.attention_scale < 1e6f))
    throw Error(ErrorKind::kCorrupt, "model configuration: attention scale is {}, expected a positive number", c.attention_scale);
}

}  // namespace microtome
