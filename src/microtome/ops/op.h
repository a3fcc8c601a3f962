// What an operation is. Each is a struct without state, one small file per family of operations:
//
//   struct Gelu {
//     static constexpr int kInputs = 1;
//     struct Params { Activation kind; };
//     static Tensor forward(const OpContext&, const Params&, const Inputs& in, Saved* saved);
//     static void backward(const OpContext&, const Params&, const Inputs& in, const Saved&, const Tensor& dy, Gradients& d);
//     static bool keeps(int input, const Gradients& d);
//   };
//
// forward checks shapes, allocates its output from the context's arena and never writes its inputs. Where `saved` is not
// null a tape is recording, and what backward will need beyond the inputs is put there. backward fills d.of(i) for every
// input with d.wants(i). keeps(i, d) says whether backward reads input i's values: the tape drops the others at once, and
// what is cheap to compute again (activations, normalised rows, probabilities) is not saved at all.
// The tape (tape/tape.h) calls operations through call<Op>.
#pragma once

#include <array>
#include <vector>

#include "microtome/base/error.h"
#include "microtome/ops/backend.h"
#include "microtome/tensor/tensor.h"

namespace microtome {

struct OpContext {
  Arena& arena;
  const Backend& kernels;
  int64_t* macs = nullptr;  // where products with weights count their multiply-adds, going forward; null: nowhere

  void count(int64_t n) const {
    if (macs) *macs += n;
  }
};

inline constexpr int kMaxInputs = 4;

// Inputs by position; an optional one that is absent is an undefined tensor.
using Inputs = std::array<Tensor, kMaxInputs>;
using Saved = std::vector<Tensor>;

class Gradients {
 public:
  bool wants(int input) const { return wanted_[input]; }
  Tensor& of(int input) { return gradients_[input]; }
  void want(int input, bool wanted) { wanted_[input] = wanted; }

 private:
  std::array<Tensor, kMaxInputs> gradients_;
  std::array<bool, kMaxInputs> wanted_{};
};

}  // namespace microtome
