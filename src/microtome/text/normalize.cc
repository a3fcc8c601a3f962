#include "microtome/text/normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "microtome/base/error.h"
#include "microtome/base/utf8.h"

namespace microtome {
namespace {

// `text` must be well-formed UTF-8.
void append_nfc(std::string_view text, std::string& out) {
  if (is_surely_nfc(text)) {
    out += text;
    return;
  }
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()), &raw,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(raw, &std::free);
  if (length < 0) throw Error(ErrorKind::kIo, "tokenizer: normalising {} bytes failed: {}", text.size(), utf8proc_errmsg(length));
  out.append(reinterpret_cast<const char*>(raw), static_cast<size_t>(length));
}

}  // namespace

bool is_surely_nfc(std::string_view text) {
  // Characters below U+0300 neither combine nor decompose; from there on the first byte is CC or higher.
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0xCC; });
}

std::string nfc(std::string_view text) {
  std::string out;
  size_t begin = 0, pos = 0;
  while (pos < text.size()) {
    const size_t length = utf8_length(text.substr(pos, 4));
    if (length > 0) {
      pos += length;
      continue;
    }
    append_nfc(text.substr(begin, pos - begin), out);
    out += text[pos];
    begin = ++pos;
  }
  append_nfc(text.substr(begin), out);
  return out;
}

std::string nfc(std::string_view text, std::vector<InputRange>& input) {
  std::string out;
  size_t done = 0;
  for (InputRange& range : input) {
    out += nfc(text.substr(done, range.begin - done));
    const size_t begin = out.size();
    out += nfc(text.substr(range.begin, range.end - range.begin));
    done = range.end;
    range = {begin, out.size()};
  }
  return out += nfc(text.substr(done));
}

}  // namespace microtome
