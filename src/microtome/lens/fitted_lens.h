// A lens that was fitted: for each layer an affine map that carries the stream to what the last layer would make of it.
//
//   FittedLens lens = load_lens("jacobian.safetensors");      // lens/lens_file.h
//   Tensor y = lens.apply(ctx, 7, resid);                      // at the input of block 7: unembed(model, y) are its logits
//
// A map is y = x + delta x + bias (x a column; delta [D, D], row i makes output i), so that zeros are the logit lens, bit for
// bit. Tuned lenses (Belrose et al. 2023) have one at the input of each block: delta = A transposed. Jacobian lenses have one
// at the output of each block but the last: delta = J - 1; at the input of block l stands the map of block l - 1, at that of
// block 0 none. Immutable once made; any thread may apply it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microtome/model/model.h"

namespace microtome {

enum class LensKind : uint8_t { kTuned, kJacobian };

const char* lens_kind_name(LensKind kind);  // "tuned", "jacobian"

struct LensMap {
  Tensor delta;  // [D, D]; undefined: zeros
  Tensor bias;   // [D]; undefined: zeros
};

struct FittedLens {
  LensKind kind = LensKind::kTuned;
  int64_t d_model = 0;
  std::vector<LensMap> layers;
  int64_t n_prompts = 0;     // that it was fitted on (tuned: positions)
  std::string model;         // as it was called
  std::string model_sha256;  // lens/model_hash.h; empty: not known (files from elsewhere)
  std::string fit;           // options of the fit as JSON, or empty

  // The map that stands at the input of block `point` (0 .. L; L: the final stream); null: the identity.
  const LensMap* at_point(int64_t point) const;
  // The map that belongs to block `layer`: tuned at its input, Jacobian at its output; null: the identity.
  const LensMap* at_layer(int64_t layer) const;

  // x [rows, D] -> [rows, D].
  Tensor apply(const OpContext& ctx, int64_t point, const Tensor& x) const;

  // Throws InvalidArgument if the lens was fitted to another model; `where` begins the message.
  void check_fits(const Model& model, const std::string& where) const;

  // What check_fits could not find out: for a lens that names no model, only its shapes are looked at. Empty: nothing.
  std::string doubt(const std::string& where) const;
};

// y = x + delta x + bias, for rows x [rows, D].
Tensor apply_map(const OpContext& ctx, const LensMap& map, const Tensor& x);

}  // namespace microtome
