#include "microtome/lens/fitted_lens.h"

#include "microtome/base/error.h"
#include "microtome/lens/model_hash.h"

namespace microtome {

const char* lens_kind_name(LensKind kind) { return kind == LensKind::kTuned ? "tuned" : "jacobian"; }

const LensMap* FittedLens::at_point(int64_t point) const { return at_layer(kind == LensKind::kTuned ? point : point - 1); }

const LensMap* FittedLens::at_layer(int64_t layer) const {
  return layer >= 0 && layer < std::ssize(layers) ? &layers[layer] : nullptr;
}

Tensor apply_map(const OpContext& ctx, const LensMap& map, const Tensor& x) {
  const int64_t d = x.size(-1), rows = x.numel() / d;
  Tensor y = x;
  if (map.delta.defined()) {
    Tensor transposed = Tensor::empty({d, d}, ctx.arena), change = Tensor::empty({rows, d}, ctx.arena);
    ctx.kernels.transpose(d, d, map.delta.f32(), transposed.f32());
    ctx.kernels.gemm_plain(x.f32(), std::as_const(transposed).f32(), change.f32(), rows, d, d);
    y = Tensor::empty({rows, d}, ctx.arena);
    ctx.kernels.add(rows * d, x.f32(), std::as_const(change).f32(), y.f32());
  }
  if (map.bias.defined()) {
    Tensor z = Tensor::empty({rows, d}, ctx.arena);
    ctx.kernels.add_bias(rows, d, std::as_const(y).f32(), map.bias.f32(), z.f32());
    y = z;
  }
  return y;
}

Tensor FittedLens::apply(const OpContext& ctx, int64_t point, const Tensor& x) const {
  const LensMap* map = at_point(point);
  return map ? apply_map(ctx, *map, x) : x;
}

void FittedLens::check_fits(const Model& model, const std::string& where) const {
  const Config& c = model.config();
  if (d_model != c.d_model)
    throw Error(ErrorKind::kInvalidArgument, "{}: the lens is {} wide, the model {}; it was fitted to another model{}", where,
                d_model, c.d_model, this->model.empty() ? "" : fmt::format(" ({})", printable(this->model)));
  const int64_t most = kind == LensKind::kTuned ? c.n_layers : std::max<int64_t>(0, c.n_layers - 1);
  if (std::ssize(layers) != most)
    throw Error(ErrorKind::kInvalidArgument,
                "{}: the lens has {} layers, a {} lens of this model has {}; it was fitted to another", where, layers.size(),
                lens_kind_name(kind), most);
  if (model_sha256.empty()) return;  // doubt() says so
  const std::string hash = microtome::model_sha256(model);
  if (hash != model_sha256)
    throw Error(
        ErrorKind::kInvalidArgument,
        "{}: the lens was fitted to a model with SHA-256 {}.., this one has {}..; fit it again with `microtome train lens`",
        where, printable(model_sha256.substr(0, 12)), hash.substr(0, 12));
}

std::string FittedLens::doubt(const std::string& where) const {
  if (!model_sha256.empty()) return {};
  return where + ": does not name the model that it was fitted to (model_sha256); only its shapes could be checked";
}

}  // namespace microtome
