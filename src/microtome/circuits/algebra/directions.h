// Directions of the stream: what heads and neurons read and write, and what that means in tokens.
//
//   for (const Direction& x : singular_directions(head, HeadCircuit::kOv, 3)) ...
//   std::vector<NeuronCosines> neurons = neuron_cosines(*model, layers, progress);
//   std::vector<TokenPair> tokens = top_tokens(vocabulary, direction, Reader::kUnembed, 10);
//
// All in the folded view. A direction's sign is arbitrary where it is a singular vector: u is turned so that its entry of largest
// magnitude is positive, v with it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "microtome/base/progress.h"
#include "microtome/circuits/algebra/token_tables.h"

namespace microtome::algebra {

enum class StreamSide : uint8_t {
  kEmbed,    // read from the stream: compared with what tokens write, W_E
  kUnembed,  // written to the stream: compared with what the output reads, W_U
};

struct Direction {
  int64_t index = 0;  // 0: the largest singular value
  double value = 0;   // singular value
  double share = 0;   // of Σ σ²
  bool left = true;  // of M = Σ σ u vᵀ: u (the side that reads; for QK the query), or v (the side that writes; for QK the key)
  StreamSide side = StreamSide::kEmbed;
  std::vector<float> vector;  // [D], unit length
};

// The first `count` pairs, u then v of each. OV: u reads, v writes. QK: u is what queries read, v what keys read.
enum class HeadCircuit : uint8_t { kOv, kQk };
std::vector<Direction> singular_directions(const HeadWeights& head, HeadCircuit circuit, int64_t count);

// The first `count` directions on the stream's side of W_in [D, M] (reads), W_gate, or W_out [M, D] (writes).
std::vector<Direction> singular_directions(std::span<const float> w, int64_t d, int64_t m, bool writes, int64_t count);

// For each direction its n tokens of largest product, largest first, and with `lowest` those of smallest, smallest first.
// `row` of a pair is the number of the direction.
struct DirectionTokens {
  std::vector<TokenPair> top, lowest;
};
std::vector<DirectionTokens> tokens_of(const Vocabulary& vocabulary, std::span<const std::vector<float>> directions,
                                       StreamSide side, int64_t n);

// A neuron writes w_out when it reads w_in. cos(w_in, w_out) near −1: it removes what it reads; near +1: it amplifies it. In a
// gated MLP `input` is cos(w_up, w_out) and `gate` cos(w_gate, w_out), and the sign of what is written depends on the gate.
// Random directions: mean 0, standard deviation 1/√D.
struct NeuronCosines {
  int layer = 0;
  int64_t neuron = 0;
  double input = 0, gate = 0;
};
std::vector<NeuronCosines> neuron_cosines(const MlpWeights& mlp, int layer);

// What writes into the stream and what reads from it, between two layers: cosines of all pairs of their directions.
struct StreamLink {
  int from_layer = 0, to_layer = 0;
  std::string writer;  // "w_out" (rows, neurons), "w_o" (rows, head · K + i)
  std::string reader;  // "w_in", "w_gate", "w_q", "w_k", "w_v" (columns)
  double rms = 0;      // root mean square cosine; 1/√D for random directions
  double mean_magnitude = 0;
  double extreme = 0;  // the cosine of largest magnitude, and its two directions
  int64_t writer_index = 0, reader_index = 0;
};
// Every writer before every reader of the chosen layers (all where empty), in the order of the forward pass.
std::vector<StreamLink> stream_links(const Model& model, std::span<const int> from_layers, std::span<const int> to_layers,
                                     Progress* progress = nullptr);

}  // namespace microtome::algebra
