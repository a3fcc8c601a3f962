// Text that remembers, byte for byte, what a user typed and what the template wrote.
//
//   MarkedText text("<|im_start|>", false);
//   text.append(content);                     // each stretch keeps its mark
//   use(text.spans());
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "microtome/text/tokenizer.h"

namespace microtome::jinja {

class MarkedText {
 public:
  MarkedText() = default;
  MarkedText(std::string_view bytes, bool is_input) { append(bytes, is_input); }

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool is_input_at(size_t byte) const;

  void append(std::string_view bytes, bool is_input);
  void append(const MarkedText& other);
  MarkedText slice(size_t begin, size_t end) const;

  std::vector<TextSpan> spans() const;

 private:
  struct Run {  // neighbours differ in is_input; the last one ends at bytes_.size()
    size_t end;
    bool is_input;
  };
  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace microtome::jinja
