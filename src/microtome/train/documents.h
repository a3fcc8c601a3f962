// Text to train on: documents, and the part of them that is held out.
//
//   std::vector<std::string> train = read_documents("speeches.txt", Split::kTrain);
//   std::vector<std::string> test = read_documents("speeches.txt", Split::kHeldout);
//
// A path is a text file, a .jsonl file (each line's `text` is a document), or a folder: of such files, or with a `train` and a
// `heldout` part, which are then the split. In a text file the parts between lines of <|endoftext|> are documents. Without a
// split of its own, a tenth of the documents is held out, chosen by their SHA-256, so that the choice depends neither on their
// order nor on a seed; a single document is cut at nine tenths. Thread rule: free functions without state.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace microtome {

enum class Split { kTrain, kHeldout };

// Files in the order of their names. Throws NotFound, Io, Corrupt (a line that is no JSON), InvalidArgument (no text in it).
std::vector<std::string> read_documents(const std::filesystem::path& path, Split split);

// The split of documents that come from elsewhere.
std::vector<std::string> split_documents(std::vector<std::string> documents, Split split);

}  // namespace microtome
