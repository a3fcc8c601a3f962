// The detectors: what each head is asked, by name.
//
//   parse_detector("induction");                       // Detector::kInduction
//   detector_info(Detector::kInduction).threshold;     // a head with this score or more gets the label
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace microtome::heads {

enum class Detector : uint8_t {
  kPrevious,
  kCurrent,
  kDuplicate,
  kInduction,
  kSink,
  kCopying,
  kNameMover,
  kNegativeMover,
  kSuccessor,
  kCopySuppression,
  kSInhibition,
};
inline constexpr int kDetectors = 11;
inline constexpr int kAttentionDetectors = 5;  // the first ones are read from attention alone

struct DetectorInfo {
  Detector detector;
  std::string_view name;
  std::string_view score;  // what the number is
  double threshold;        // for the label; why: docs/heads.md
};

std::span<const DetectorInfo> detectors();
const DetectorInfo& detector_info(Detector detector);
// Throws InvalidArgument with the names there are.
Detector parse_detector(std::string_view name);
inline bool from_attention(Detector d) { return static_cast<int>(d) < kAttentionDetectors; }

}  // namespace microtome::heads
