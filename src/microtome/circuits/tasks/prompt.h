// How tasks put prompts together: templates with named words, and checks of how the tokenizer cuts them.
//
//   const auto pieces = fill("When{A} and{B} went to the shops,{S2} gave the bag to",
//                            {{"A", {" John", "S1"}}, {"B", {" Mary", "IO"}}, {"S2", {" John", "S2"}}});
//   std::optional<TaskExample> e = make_pair(source, pieces, corrupted_pieces);     // nothing if the two do not line up
//   e->example.positions["S2"];                                                     // 9
#pragma once

#include <map>

#include "microtome/circuits/tasks/task.h"

namespace microtome {

// A stretch of a prompt; its last token gets the name `role`, if that is not empty.
struct Piece {
  std::string text, role;
};

// Cuts "...{NAME}..." into pieces. A word without a role of its own has its NAME.
std::vector<Piece> fill(std::string_view text, const std::map<std::string, Piece, std::less<>>& words);

struct Prompt {
  std::string text;
  std::vector<int32_t> ids;
  std::map<std::string, int> positions;  // of the roles, and END, the last token
};
Prompt make_prompt(const TaskSource& source, std::span<const Piece> pieces);

// Both sides, roles from the clean one; nothing if lengths or the places of roles differ.
std::optional<TaskExample> make_pair(const TaskSource& source, std::span<const Piece> clean, std::span<const Piece> corrupted);

// The token that `text` is, within the model's vocabulary; nothing if it is several.
std::optional<int32_t> single_token(const TaskSource& source, const std::string& text);

// Those of `words` that are single tokens with `before` in front. Throws Unsupported, naming a word and its pieces, if fewer
// than `least` are; `task` begins the message.
std::vector<std::string> single_words(const TaskSource& source, std::span<const char* const> words, size_t least,
                                      std::string_view task, std::string_view before = " ");

// The tokenizer; throws Unsupported if the model has none.
const Tokenizer& need_tokenizer(const TaskSource& source, std::string_view task);

// 0 .. n - 1 in an order that seed, purpose and index choose.
std::vector<size_t> shuffled(size_t n, uint64_t seed, std::string_view purpose, uint64_t index = 0);

}  // namespace microtome
