#include "microtome/train/loop.h"

#include <chrono>
#include <fstream>
#include <optional>

#include "microtome/base/error.h"
#include "microtome/base/file.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

fs::path state_path(const fs::path& folder) { return folder / "state.safetensors"; }

void save(const Trainer& trainer, int64_t step, const fs::path& folder) {
  StateWriter out;
  trainer.save(out);
  out.values["step"] = step;
  out.values["options"] = trainer.options();
  out.save(state_path(folder));
}

// The step that comes next.
int64_t load(Trainer& trainer, const fs::path& folder) {
  const StateReader in(state_path(folder));
  const Json mine = trainer.options(), saved = in.values().value("options", Json());
  if (!saved.is_object()) in.corrupt("does not say the options of its run");
  const auto text = [](const Json& options, const std::string& key) {
    return options.contains(key) ? printable(dump_json(options[key])) : "-";
  };
  for (const Json* all : {&mine, &saved})
    for (const auto& [key, value] : all->items())
      if (!mine.contains(key) || !saved.contains(key) || mine[key] != saved[key])
        throw Error(ErrorKind::kInvalidArgument, "{}: was begun with {} {}, not {}; give the same options or another --out",
                    printable(state_path(folder).string(), 200), printable(key), text(saved, key), text(mine, key));
  const int64_t steps = in.count("step");
  trainer.load(in, steps);
  return steps;
}

// Lines of steps that the state does not hold are dropped: they are taken again.
void cut_metrics(const fs::path& file, int64_t steps) {
  std::ifstream in(file);
  std::string kept, line;
  int64_t lines = 0;
  for (; lines < steps && std::getline(in, line) && !in.eof(); ++lines) kept += line + '\n';
  if (lines < steps)
    throw Error(ErrorKind::kCorrupt, "{}: holds {} whole lines, the state beside it {} steps; begin again with another --out",
                printable(file.string(), 200), lines, steps);
  if (fs::exists(file)) write_atomically(file, [&](std::ostream& out) { out << kept; });
}

int64_t begin(Trainer& trainer, const LoopOptions& options) {
  const bool there = fs::exists(state_path(options.folder));
  const std::string shown = printable(options.folder.string(), 200);
  if (there && !options.resume)
    throw Error(ErrorKind::kInvalidArgument, "{}: holds a run already; give --resume to go on with it, or another --out", shown);
  if (!there && options.resume) throw Error(ErrorKind::kNotFound, "{}: holds no run to resume; leave --resume out", shown);
  std::error_code ec;
  fs::create_directories(options.folder, ec);
  if (ec) throw Error(ErrorKind::kIo, "{}: cannot be made: {}", shown, ec.message());
  const int64_t step = there ? load(trainer, options.folder) : 0;
  cut_metrics(options.folder / "metrics.jsonl", step);
  return step;
}

}  // namespace

void run_training(Trainer& trainer, const LoopOptions& options) {
  using Clock = std::chrono::steady_clock;
  int64_t step = begin(trainer, options), saved = step;
  const fs::path metrics_path = options.folder / "metrics.jsonl";
  std::ofstream metrics(metrics_path, std::ios::app);
  const auto save_state = [&] {
    save(trainer, step, options.folder);
    saved = step;
  };
  if (!fs::exists(state_path(options.folder))) save_state();  // so that there is something to resume from now on
  Progress* progress = options.progress;
  if (progress) progress->begin(options.task, static_cast<double>(std::max<int64_t>(0, options.steps - step)));
  std::optional<Clock::time_point> last;  // when a step was saved
  while (step < options.steps) {
    Json line;
    try {
      if (progress) progress->check();
      line = trainer.step(step, progress);
    } catch (const Error& e) {
      if (e.kind() == ErrorKind::kCancelled && saved < step) save_state();
      throw;
    }
    ++step;
    // Before the state: it never holds a step that the metrics lack.
    metrics << dump_json(line) << '\n';
    if (!metrics.flush())
      throw Error(ErrorKind::kIo, "{}: cannot be written; is the disk full?", printable(metrics_path.string(), 200));
    if (options.on_step) options.on_step(line);
    if (!last || std::chrono::duration<double>(Clock::now() - *last).count() >= options.save_every_s) {
      save_state();
      last = Clock::now();
    }
    try {
      if (progress && !trainer.steps_progress()) progress->step(1);
    } catch (const Error&) {
      if (saved < step) save_state();
      throw;
    }
  }
  if (saved < step) save_state();
  if (progress) progress->end();
}

}  // namespace microtome
