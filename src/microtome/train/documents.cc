#include "microtome/train/documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "microtome/base/error.h"
#include "microtome/base/file.h"
#include "microtome/base/json.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/sha256.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kHeldoutShare = 10;

void add(std::vector<std::string>& documents, std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") != std::string_view::npos) documents.emplace_back(text);
}

template <class Fn>  // fn(line without its newline, where it begins, where the next begins)
void for_each_line(std::string_view text, Fn&& fn) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    fn(text.substr(begin, end - begin), begin, std::min(end + 1, text.size()));
    begin = end + 1;
  }
}

void add_text(std::vector<std::string>& documents, std::string_view text) {
  size_t from = 0;
  for_each_line(text, [&](std::string_view line, size_t begin, size_t next) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line != "<|endoftext|>") return;
    add(documents, text.substr(from, begin - from));
    from = next;
  });
  add(documents, text.substr(from));
}

void add_json_lines(std::vector<std::string>& documents, std::string_view text, const std::string& where) {
  int64_t number = 0;
  for_each_line(text, [&](std::string_view line, size_t, size_t) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
    const Json json = parse_json(line, fmt::format("{} line {}", where, number));
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string())
      throw Error(ErrorKind::kCorrupt, "{} line {}: has no text \"text\"", where, number);
    add(documents, json["text"].get_ref<const std::string&>());
  });
}

void add_file(std::vector<std::string>& documents, const fs::path& file) {
  const std::string text = read_file(file, uint64_t{8} << 30);
  if (file.extension() == ".jsonl") add_json_lines(documents, text, printable(file.string(), 200));
  else add_text(documents, text);
}

std::vector<std::string> all_documents(const fs::path& path) {
  std::vector<std::string> documents;
  if (!fs::is_directory(path)) {
    add_file(documents, path);
  } else {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.path().extension() == ".txt" || entry.path().extension() == ".jsonl") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) add_file(documents, file);
  }
  if (documents.empty())
    throw Error(ErrorKind::kInvalidArgument, "{}: holds no text; name a .txt or .jsonl file or a folder of them",
                printable(path.string(), 200));
  return documents;
}

// A part of a folder: `train`, `train.txt` or `train.jsonl`.
fs::path part_of(const fs::path& folder, const char* name) {
  for (const char* end : {"", ".txt", ".jsonl"})
    if (fs::exists(folder / (std::string(name) + end))) return folder / (std::string(name) + end);
  return {};
}

}  // namespace

std::vector<std::string> split_documents(std::vector<std::string> documents, Split split) {
  const bool train = split == Split::kTrain;
  if (documents.size() == 1) {
    const std::string& text = documents[0];
    size_t cut = text.size() / kHeldoutShare * (kHeldoutShare - 1);
    cut = std::min(text.find_first_of(" \n", cut), text.size());
    return {train ? text.substr(0, cut) : text.substr(cut)};
  }
  std::vector<std::pair<std::string, size_t>> order;
  for (size_t i = 0; i < documents.size(); ++i) {
    Sha256 hash;
    hash.update(as_byte_span(documents[i]));
    order.emplace_back(hash.hex(), i);
  }
  std::sort(order.begin(), order.end());
  const size_t held_out = std::max<size_t>(1, documents.size() / kHeldoutShare);
  std::vector<char> out(documents.size(), 0);
  for (size_t i = 0; i < held_out; ++i) out[order[i].second] = 1;
  std::vector<std::string> kept;
  for (size_t i = 0; i < documents.size(); ++i)
    if ((out[i] == 0) == train) kept.push_back(std::move(documents[i]));
  return kept;
}

std::vector<std::string> read_documents(const fs::path& path, Split split) {
  if (!fs::exists(path)) throw Error(ErrorKind::kNotFound, "{}: no such text", printable(path.string(), 200));
  if (fs::is_directory(path)) {
    const fs::path train = part_of(path, "train"), heldout = part_of(path, "heldout");
    if (!train.empty() && !heldout.empty()) return all_documents(split == Split::kTrain ? train : heldout);
  }
  return split_documents(all_documents(path), split);
}

}  // namespace microtome
