// Capture: the sink that keeps what a plan reads, in memory of its own, laid out as TransformerLens has it.
//
//   Capture capture(batch.sequences.size());
//   capture.read(plan, {SiteKind::kZ, 5});
//   forward(...);                              // once, or prompt and then token by token
//   Tensor z = capture.array({SiteKind::kZ, 5});   // [B, T, H, d_head]; right-padded with 0
//
// Scores and patterns come as [B, H, T, T] (queries, keys; scores of invisible keys -inf, padding 0). The plan keeps a
// pointer to the capture: it must live as long as the plan is used.
#pragma once

#include <map>
#include <vector>

#include "microtome/model/plan.h"

namespace microtome {

class Capture {
 public:
  explicit Capture(int64_t n_sequences) : n_sequences_(n_sequences) {}
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // Keeps the site's values, cut to the slice's heads and values (positions are cut in array()).
  void read(Plan& plan, Site site, Slice slice = {});
  // Keeps the gradients at the site; several parts are added up.
  void gradient(Plan& plan, Site site);

  std::vector<Site> sites() const;  // that were read and have values, in forward order
  std::vector<Site> gradient_sites() const;
  Tensor array(Site site) const { return assemble(values_.at(site)); }
  Tensor gradient_array(Site site) const { return assemble(gradients_.at(site)); }
  // Real positions of each sequence, from the first site kept.
  std::vector<int64_t> lengths() const;

 private:
  struct Rows {
    Shape row_shape;                      // of one token: [heads, width], [width]; for patterns [heads]
    std::vector<std::vector<float>> row;  // by position; patterns: heads x keys
  };
  struct Entry {
    bool pattern = false;
    std::vector<Rows> sequences;
  };
  void keep(Entry& entry, const SiteValue& value, bool add);
  static Tensor assemble(const Entry& entry);

  int64_t n_sequences_;
  std::map<Site, Entry> values_, gradients_;
};

}  // namespace microtome
