// Lens vectors: the direction at a layer that a lens reads as a token, row `token` of W_U (1 + delta) (raw weights: the final
// norm's gain is not folded in). What can be done with them: add one, project one out, swap two, write a state as few of them.
//
//   Tensor lisbon = lens_vector(model, &lens, 20, id);
//   plan.edit(...)                                  // steer: add; or with a StreamEdit:
//   StreamEdit e = swap_edit(lisbon, madrid);       // h += write * (read . h)
//   Decomposition parts = decompose(lens_dictionary(model, &lens, 20), h, 8);
//
// A lens may be null: the logit lens. Sums are in double. Thread rule: free functions; a dictionary may be shared.
#pragma once

#include <cstdint>
#include <vector>

#include "microtome/lens/fitted_lens.h"

namespace microtome {

// [D].
Tensor lens_vector(const Model& model, const FittedLens* lens, int64_t layer, int32_t token);

// The vector of a token drawn with `seed`, other than `token`, scaled to the length of `token`'s: what an intervention is to be
// compared with.
Tensor random_vector_like(const Model& model, const FittedLens* lens, int64_t layer, int32_t token, uint64_t seed);

// h += write * (read . h), both [D].
struct StreamEdit {
  Tensor read, write;
};

// Projects v out. Throws InvalidArgument for a zero vector.
StreamEdit ablate_edit(const Tensor& v);

// Exchanges the coordinates of h in the span of a and b, by the pseudoinverse of [a b]; what lies outside of the span stays.
// Throws InvalidArgument where a and b are parallel.
StreamEdit swap_edit(const Tensor& a, const Tensor& b);

void apply_stream_edit(const StreamEdit& edit, float* h, int64_t d);

// All lens vectors of a layer, for searching: the map and each vector's length.
struct LensDictionary {
  const Model* model = nullptr;
  LensMap map;                 // of the layer
  std::vector<double> length;  // [V]
};
LensDictionary lens_dictionary(const Model& model, const FittedLens* lens, int64_t layer);

struct Decomposition {
  struct Part {
    int32_t token;
    double coefficient;  // of the vector at length 1, >= 0
  };
  std::vector<Part> parts;  // largest first
  double explained = 0;     // 1 - |h - sum|^2 / |h|^2
};

// h [D] as a non-negative sum of at most k lens vectors, by gradient pursuit (Blumensath and Davies 2008): the vector most like
// what is left is taken in, then all coefficients move along their gradient, those that fall below 0 staying there.
Decomposition decompose(const LensDictionary& dictionary, const float* h, int64_t k);

}  // namespace microtome
