// Docstrings (Heimersheim and Janiak 2023): a Python function documents its arguments in order; after `:param` comes the next.
// The corrupted side has other arguments in its first line. Wrong answers are the arguments of both sides; the best counts.
#include "microtome/base/error.h"
#include "microtome/circuits/tasks/all.h"
#include "microtome/circuits/tasks/prompt.h"

namespace microtome {
namespace {

constexpr const char* kTemplate =
    "def{F}(self,{A0},{A1},{A2},{A3},{A4},{A5}):\n    \"\"\"{T0}{T1}{T2}\n\n    :param{P2}:{T3}{T4}\n    :param{P3}:{T5}{T6}\n   "
    " "
    ":param";
constexpr const char* kWords[] = {
    "first", "files", "page",  "names",  "size",  "read",    "old",   "load",   "file",   "last",   "port",   "image",
    "text",  "user",  "value", "key",    "group", "date",    "time",  "path",   "mode",   "style",  "color",  "line",
    "table", "index", "count", "limit",  "order", "state",   "node",  "result", "parent", "item",   "field",  "model",
    "label", "title", "level", "option", "code",  "type",    "start", "end",    "width",  "height", "source", "target",
    "token", "query", "input", "output", "data",  "message", "event", "error"};
constexpr const char* kNouns[] = {"sector", "gap",    "population", "tree",   "mine",   "oil",    "column", "piece",
                                  "crime",  "unit",   "river",      "stone",  "garden", "metal",  "cloud",  "bridge",
                                  "winter", "paper",  "ocean",      "engine", "market", "forest", "music",  "doctor",
                                  "window", "summer", "horse",      "field",  "bread",  "coast"};

}  // namespace

std::vector<TaskExample> make_docstring(const TaskSource& source, int64_t n, uint64_t seed) {
  const std::vector<std::string> words = single_words(source, kWords, 16, "docstring");
  const std::vector<std::string> nouns = single_words(source, kNouns, 8, "docstring");
  std::vector<TaskExample> out;
  for (uint64_t i = 0; std::ssize(out) < n; ++i) {
    if (i > 100 + 10 * static_cast<uint64_t>(n))
      throw Error(ErrorKind::kUnsupported, "task docstring: this model's tokenizer does not cut two such functions alike");
    const std::vector<size_t> w = shuffled(words.size(), seed, "task.docstring", i);
    const std::vector<size_t> t = shuffled(nouns.size(), seed, "task.docstring.text", i);
    // Arguments are words 0 .. 5 (corrupted: 6 .. 11), the function's name is word 12.
    std::map<std::string, Piece, std::less<>> fields{{"F", {words[w[12]], ""}}};
    for (size_t k = 0; k < 7; ++k) fields["T" + std::to_string(k)] = {nouns[t[k]], ""};
    for (size_t k = 0; k < 6; ++k) fields["A" + std::to_string(k)] = {words[w[k]], ""};
    fields["P2"] = {words[w[2]], ""};
    fields["P3"] = {words[w[3]], ""};
    const auto clean = fill(kTemplate, fields);
    for (size_t k = 0; k < 6; ++k) fields["A" + std::to_string(k)] = {words[w[6 + k]], ""};
    auto e = make_pair(source, clean, fill(kTemplate, fields));
    if (!e) continue;
    e->example.answers = {*single_token(source, words[w[4]])};
    for (size_t k = 0; k < 12; ++k)
      if (k != 4) e->example.wrong.push_back(*single_token(source, words[w[k]]));
    e->example.best_wrong = true;
    e->group = "docstring";
    out.push_back(std::move(*e));
  }
  return out;
}

}  // namespace microtome
