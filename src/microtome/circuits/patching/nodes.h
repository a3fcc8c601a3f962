// Nodes of the graph of paths: senders write to the stream, receivers read from it (circuits specification, section 8).
//
//   Sender a = parse_sender("a5.h1", config);           // also m5, input
//   Receiver b = parse_receiver("a7.h3<q>", config);    // also a7.h1<k>, a7.h1<v> (key/value heads), m5, logits
//   reaches(a, b, config);                              // the sender's output lies in the stream that the receiver reads
//
// Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "microtome/model/site.h"

namespace microtome {

struct Sender {
  enum class Kind : uint8_t { kInput, kHead, kMlp } kind = Kind::kInput;
  int layer = -1;  // -1: input
  int64_t head = 0;
  std::string name;
};

struct Receiver {
  SiteKind site = SiteKind::kResidPost;  // kQInput, kKInput, kVInput, kMlpIn; kResidPost of the last layer: the logits
  int layer = 0;
  int64_t head = 0;
  std::string name;
};

// Throw InvalidArgument: a name that is none (with what there are), a layer or head that the model does not have.
Sender parse_sender(std::string_view text, const Config& config);
Receiver parse_receiver(std::string_view text, const Config& config);

// "a5.h1,m5,input"; "heads", "mlps", "all" stand for every one. In the order given.
std::vector<Sender> parse_senders(std::string_view text, const Config& config);

// "a9.h9<q>+a10.h0<q>,logits": receivers joined by + are changed together.
std::vector<std::vector<Receiver>> parse_receivers(std::string_view text, const Config& config);

bool reaches(const Sender& from, const Receiver& to, const Config& config);

}  // namespace microtome
