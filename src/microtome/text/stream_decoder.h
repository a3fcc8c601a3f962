// StreamDecoder: text while tokens arrive, never splitting a UTF-8 character.
//
//   StreamDecoder stream(tokenizer);
//   for (int id : generated) std::cout << stream.push(id);
//   std::cout << stream.flush();
//
// The pieces joined are the tokens' bytes, whatever the split. Bytes that can no longer become a character are passed on
// at once as they are (`utf8_lossy` makes them printable). One stream belongs to one thread; it refers to the tokenizer.
#pragma once

#include <string>

#include "microtome/text/tokenizer.h"

namespace microtome {

class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  // Text that is complete now; empty while a character is still incomplete. Throws kInvalidArgument for an unknown id.
  std::string push(int id);
  // What is left: the bytes of an unfinished character.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // 0 to 3 bytes: a proper prefix of a character
};

}  // namespace microtome
