// Where an intervention enters the stream, and which rows of it change there. Internal to the sweep.
#pragma once

#include <span>
#include <vector>

#include "microtome/circuits/sweep/host.h"

namespace microtome::sweep {

enum class Way : uint8_t {
  kStream,   // a state of the stream, or what attention or MLP add to it, is written directly
  kHeads,    // heads' queries, keys, values, patterns or outputs change: z changes, and what z W_O adds
  kNeurons,  // mlp.hook_post changes, and what its W_out adds
  kWhole,    // from this layer on blocks run whole, with the edits in them
  kAlone,    // edits outside of blocks, or of the caller's own making: a pass of its own
};

// The state of the stream that an intervention changes first.
enum class Point : uint8_t { kPre, kMid, kPost };

struct Route {
  Way way = Way::kAlone;
  Point point = Point::kPre;
  int layer = 0;         // the first block that changes
  int64_t position = 0;  // no row before it changes
};

// Throws InvalidArgument for kMean (its mean is over this run alone: give it as a value), NotFound for a site that the model
// lacks.
Route route_of(const Intervention& intervention, const HostRun& host, const Model& model);

// The route of an intervention on a model that has edits in it, which the base run has too; where these reach into blocks that
// change, or beyond blocks, it is whole or alone, and wants `with_base` (base edits from its first block on, then its own; all of
// them, alone) in place of its own.
Route route_on(std::span<const Edit> base, Route route, const Intervention& own, Intervention& with_base);

// The block runs whole, for edits that lie in it.
bool edited_at(const Route& route, const Intervention& intervention, int l);

// Kinds of site that base runs must hold for it.
std::vector<SiteKind> needs_of(const Route& route, const Intervention& intervention, const Config& config);

// Changed rows of some interventions, packed: [rows, D].
class RowStore {
 public:
  struct Part {
    int64_t item;
    std::vector<int32_t> positions;  // rising
    int64_t first;                   // row
  };
  explicit RowStore(int64_t width) : width_(width) {}

  bool empty() const { return parts_.empty(); }
  int64_t rows() const { return static_cast<int64_t>(data_.size()) / width_; }
  const std::vector<Part>& parts() const { return parts_; }
  const float* row(int64_t r) const { return data_.data() + r * width_; }
  float* row(int64_t r) { return data_.data() + r * width_; }

  // Begins the rows of an intervention; then one add_row for each position. A part without rows is dropped by the next.
  void begin(int64_t item);
  float* add_row(int32_t position);
  void end();
  Tensor tensor(Arena& arena) const;

 private:
  int64_t width_;
  std::vector<Part> parts_;
  std::vector<float> data_;
};

// Way::kStream: the rows of the stream at the route's point that are not the host's, bit for bit.
void enter_stream(const Route& route, const Intervention& intervention, const HostRun& host, const Config& config, int64_t item,
                  RowStore& out);

// The point where what attention (or MLP) adds is seen first.
Point after_attention(const Config& config);
// Site of the stream at a point.
Site stream_site(Point point, int layer);

// The host's value at the edits' site with the edits in it, [T, ..].
Tensor edited_value(const Intervention& intervention, const HostRun& host);

}  // namespace microtome::sweep
