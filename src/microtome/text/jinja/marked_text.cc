#include "microtome/text/jinja/marked_text.h"

#include <algorithm>

namespace microtome::jinja {

bool MarkedText::is_input_at(size_t byte) const {
  const auto run = std::upper_bound(runs_.begin(), runs_.end(), byte, [](size_t b, const Run& r) { return b < r.end; });
  return run != runs_.end() && run->is_input;
}

void MarkedText::append(std::string_view bytes, bool is_input) {
  if (bytes.empty()) return;
  bytes_ += bytes;
  if (!runs_.empty() && runs_.back().is_input == is_input) runs_.back().end = bytes_.size();
  else runs_.push_back({bytes_.size(), is_input});
}

void MarkedText::append(const MarkedText& other) {
  size_t begin = 0;
  for (const Run& run : other.runs_) {
    append(std::string_view(other.bytes_).substr(begin, run.end - begin), run.is_input);
    begin = run.end;
  }
}

MarkedText MarkedText::slice(size_t begin, size_t end) const {
  MarkedText out;
  for (auto run = std::upper_bound(runs_.begin(), runs_.end(), begin, [](size_t b, const Run&r) { return b < r.end; });
       run != runs_.end() && begin < end; ++run) {
    const size_t stop = std::min(run->end, end);
    out.append(std::string_view(bytes_).substr(begin, stop - begin), run->is_input);
    begin = stop;
  }
  return out;
}

std::vector<TextSpan> MarkedText::spans() const {
  std::vector<TextSpan> out;
  size_t begin = 0;
  for (const Run& run : runs_) {
    out.push_back({bytes_.substr(begin, run.end - begin), run.is_input});
    begin = run.end;
  }
  return out;
}

}  // namespace microtome::jinja
