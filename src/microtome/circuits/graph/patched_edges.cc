#include "microtome/circuits/graph/patched_edges.h"

#include <charconv>
#include <fstream>

#include "microtome/base/error.h"
#include "microtome/base/file.h"

namespace microtome {
namespace {

constexpr const char* kFirstLine = "microtome patched edges ";

std::string line_of(int64_t edge, std::span<const double> effects) {
  std::string line = std::to_string(edge);
  for (const double x : effects) line += fmt::format(" {:.17g}", x);
  return line + "\n";
}

// Whole numbers and figures of a line; false if it is no such line.
bool parse_line(std::string_view line, size_t examples, int64_t& edge, std::vector<double>& effects) {
  const char *at = line.data(), *end = at + line.size();
  auto [next, error] = std::from_chars(at, end, edge);
  if (error != std::errc() || edge < 0) return false;
  while (next != end) {
    double x = 0;
    if (*next != ' ') return false;
    const auto r = std::from_chars(next + 1, end, x);
    if (r.ec != std::errc()) return false;
    next = r.ptr;
    effects.push_back(x);
  }
  return effects.size() == examples;
}

}  // namespace

PatchedEdges::PatchedEdges(std::filesystem::path file, std::string key, size_t examples)
    : file_(std::move(file)), key_(std::move(key)), examples_(examples) {
  if (file_.empty()) return;
  read();
  // What was read, whole lines only, so that appending begins at a line.
  write_atomically(file_, [&](std::ostream& out) {
    out << kFirstLine << key_ << "\n";
    for (const auto& [edge, effects] : effects_) out << line_of(edge, effects);
  });
}

void PatchedEdges::read() {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file_, error)) return;
  const std::string text = read_regular_file(file_, uint64_t{1} << 32);
  std::string_view rest = text;
  const auto next_line = [&](std::string_view& line) {
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) return false;  // cut short
    line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return true;
  };
  std::string_view line;
  if (!next_line(line) || line != kFirstLine + key_) return;
  while (next_line(line)) {
    int64_t edge = 0;
    std::vector<double> effects;
    if (!parse_line(line, examples_, edge, effects)) return;
    effects_[edge] = std::move(effects);
  }
}

void PatchedEdges::patch(CircuitRun& run, const Metric& metric, const Graph& graph, std::span<const int64_t> edges,
                         Progress* progress) {
  std::vector<int64_t> missing;
  for (const int64_t e : edges)
    if (!effects_.contains(e)) missing.push_back(e);
  if (missing.empty()) return;
  std::ofstream out;
  if (!file_.empty()) out.open(file_, std::ios::app | std::ios::binary);
  patch_edges(
      run, metric, graph, missing,
      [&](size_t i, std::span<const double> effects) {
        effects_[missing[i]].assign(effects.begin(), effects.end());
        if (file_.empty()) return;
        out << line_of(missing[i], effects) << std::flush;
        if (!out) throw Error(ErrorKind::kIo, "{}: cannot be written (disk full?)", file_.string());
      },
      progress);
}

double PatchedEdges::mean(int64_t edge) const {
  double sum = 0;
  for (const double x : effects(edge)) sum += x;
  return sum / static_cast<double>(examples_);
}

}  // namespace microtome
