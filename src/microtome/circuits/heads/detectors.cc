#include "microtome/circuits/heads/detectors.h"

#include <string>
#include <vector>

#include "microtome/base/edit_distance.h"
#include "microtome/base/error.h"

namespace microtome::heads {

std::span<const DetectorInfo> detectors() {
  static constexpr DetectorInfo kInfo[kDetectors] = {
      {Detector::kPrevious, "previous", "attention to the token before", 0.4},
      {Detector::kCurrent, "current", "attention to the token itself", 0.4},
      {Detector::kDuplicate, "duplicate", "attention to earlier occurrences of the same token", 0.4},
      {Detector::kInduction, "induction", "attention to what followed earlier occurrences of the same token", 0.4},
      {Detector::kSink, "sink", "mean attention to position 0", 0.8},
      {Detector::kCopying, "copying", "sum of eigenvalues of W_E OV W_U over the sum of their sizes", 0.9},
      {Detector::kNameMover, "name_mover", "ioi: attention to IO at END where the head writes IO rather than S", 0.4},
      {Detector::kNegativeMover, "negative_mover", "ioi: attention to IO at END where the head writes S rather than IO", 0.4},
      {Detector::kSuccessor, "successor", "share of ordered words that the head turns into the next one", 0.5},
      {Detector::kCopySuppression, "copy_suppression", "share of tokens among the ten that they lower most", 0.5},
      {Detector::kSInhibition, "s_inhibition", "ioi: attention to S2 at END", 0.4},
  };
  return kInfo;
}

const DetectorInfo& detector_info(Detector detector) { return detectors()[static_cast<size_t>(detector)]; }

Detector parse_detector(std::string_view name) {
  std::string all;
  std::vector<std::string> names;
  for (const DetectorInfo& d : detectors()) {
    if (d.name == name) return d.detector;
    names.emplace_back(d.name);
    all += (all.empty() ? "" : ", ") + names.back();
  }
  throw Error(ErrorKind::kInvalidArgument, "there is no detector \"{}\"{}; the detectors are {}", printable(name),
              did_you_mean(name, names), all);
}

}  // namespace microtome::heads
