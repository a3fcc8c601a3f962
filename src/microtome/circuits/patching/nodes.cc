#include "microtome/circuits/patching/nodes.h"

#include <charconv>

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr const char* kSenderNames = "a5.h1 (a head), m5 (an MLP), input, or heads, mlps, all";
constexpr const char* kReceiverNames = "a7.h3<q>, a7.h1<k>, a7.h1<v>, m5 or logits";

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kInvalidArgument, message); }

// Takes a number off the front; false if there is none.
bool take_number(std::string_view& text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

// "a5.h1" off the front of `text`.
bool take_head(std::string_view& text, int64_t& layer, int64_t& head) {
  return take(text, "a") && take_number(text, layer) && take(text, ".h") && take_number(text, head);
}

void check_bounds(std::string_view name, int64_t layer, int64_t head, int64_t heads, const char* what, const Config& c) {
  if (layer >= c.n_layers) refuse(fmt::format("node {}: the model has layers 0 to {}", printable(name), c.n_layers - 1));
  if (head >= heads) refuse(fmt::format("node {}: a layer has {} 0 to {}", printable(name), what, heads - 1));
}

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(by, begin), text.size());
    std::string_view piece = text.substr(begin, end - begin);
    while (piece.starts_with(' ')) piece.remove_prefix(1);
    while (piece.ends_with(' ')) piece.remove_suffix(1);
    out.push_back(piece);
    begin = end + 1;
  }
  return out;
}

}  // namespace

Sender parse_sender(std::string_view name, const Config& c) {
  std::string_view rest = name;
  int64_t layer = 0, head = 0;
  if (name == "input") return {.kind = Sender::Kind::kInput, .layer = -1, .head = 0, .name = "input"};
  if (take_head(rest, layer, head) && rest.empty()) {
    check_bounds(name, layer, head, c.n_heads, "heads", c);
    return {.kind = Sender::Kind::kHead, .layer = static_cast<int>(layer), .head = head, .name = std::string(name)};
  }
  rest = name;
  if (take(rest, "m") && take_number(rest, layer) && rest.empty()) {
    if (!c.has_mlp()) refuse(fmt::format("node {}: this model has no MLPs", printable(name)));
    check_bounds(name, layer, 0, 1, "", c);
    return {.kind = Sender::Kind::kMlp, .layer = static_cast<int>(layer), .head = 0, .name = std::string(name)};
  }
  refuse(fmt::format("from: \"{}\" is no sender; expected {}", printable(name), kSenderNames));
}

Receiver parse_receiver(std::string_view name, const Config& c) {
  std::string_view rest = name;
  int64_t layer = 0, head = 0;
  if (name == "logits")
    return {.site = SiteKind::kResidPost, .layer = static_cast<int>(c.n_layers) - 1, .head = 0, .name = "logits"};
  if (take_head(rest, layer, head) && (rest == "<q>" || rest == "<k>" || rest == "<v>")) {
    const bool query = rest == "<q>";
    check_bounds(name, layer, head, query ? c.n_heads : c.n_kv_heads, query ? "query heads" : "key/value heads", c);
    const SiteKind site = query ? SiteKind::kQInput : rest == "<k>" ? SiteKind::kKInput : SiteKind::kVInput;
    return {.site = site, .layer = static_cast<int>(layer), .head = head, .name = std::string(name)};
  }
  rest = name;
  if (take(rest, "m") && take_number(rest, layer) && rest.empty()) {
    if (!c.has_mlp()) refuse(fmt::format("node {}: this model has no MLPs", printable(name)));
    check_bounds(name, layer, 0, 1, "", c);
    return {.site = SiteKind::kMlpIn, .layer = static_cast<int>(layer), .head = 0, .name = std::string(name)};
  }
  refuse(fmt::format("to: \"{}\" is no receiver; expected {}", printable(name), kReceiverNames));
}

std::vector<Sender> parse_senders(std::string_view text, const Config& c) {
  std::vector<Sender> out;
  for (const std::string_view piece : split(text, ',')) {
    const bool all = piece == "all", heads = all || piece == "heads", mlps = c.has_mlp() && (all || piece == "mlps");
    if (!heads && !mlps) {
      out.push_back(parse_sender(piece, c));
      continue;
    }
    if (all) out.push_back(parse_sender("input", c));
    for (int64_t l = 0; l < c.n_layers; ++l) {
      for (int64_t h = 0; heads && h < c.n_heads; ++h) out.push_back(parse_sender(fmt::format("a{}.h{}", l, h), c));
      if (mlps) out.push_back(parse_sender(fmt::format("m{}", l), c));
    }
  }
  return out;
}

std::vector<std::vector<Receiver>> parse_receivers(std::string_view text, const Config& c) {
  std::vector<std::vector<Receiver>> out;
  for (const std::string_view set : split(text, ',')) {
    out.emplace_back();
    for (const std::string_view piece : split(set, '+')) out.back().push_back(parse_receiver(piece, c));
  }
  return out;
}

bool reaches(const Sender& from, const Receiver& to, const Config& c) {
  if (from.kind == Sender::Kind::kInput || to.site == SiteKind::kResidPost) return true;
  if (to.site != SiteKind::kMlpIn || c.parallel) return from.layer < to.layer;
  return from.kind == Sender::Kind::kHead ? from.layer <= to.layer : from.layer < to.layer;
}

}  // namespace microtome
