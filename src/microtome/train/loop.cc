#include "microtome/train/loop.h"

#include <chrono>
#include <fstream>

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
  const std::string where = printable(state_path(folder).string(), 200);
  const Json mine = trainer.options(), saved = in.values().value("options", Json::object());
  for (const auto& [key, value] : mine.items())
    if (!saved.is_object() || saved.value(key, Json()) != value)
      throw Error(ErrorKind::kInvalidArgument, "{}: was begun with {} {}, not {}; give the same options or another --out", where,
                  key, saved.is_object() ? printable(dump_json(saved.value(key, Json()))) : "-", printable(dump_json(value)));
  trainer.load(in);
  return in.integer("step");
}

// Lines of steps that the state does not hold are dropped: they are taken again.
void cut_metrics(const fs::path& file, int64_t steps) {
  if (!fs::exists(file)) return;
  std::ifstream in(file);
  std::string kept, line;
  for (int64_t i = 0; i < steps && std::getline(in, line); ++i) kept += line + '\n';
  write_atomically(file, [&](std::ostream& out) { out << kept; });
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
  std::ofstream metrics(options.folder / "metrics.jsonl", std::ios::app);
  Progress* progress = options.progress;
  if (progress) progress->begin(options.task, static_cast<double>(std::max<int64_t>(0, options.steps - step)));
  auto last = Clock::now();
  for (; step < options.steps;) {
    if (progress && progress->cancelled() && saved < step) save(trainer, step, options.folder);
    if (progress) progress->check();
    const Json line = trainer.step(step, progress);
    ++step;
    metrics << dump_json(line) << '\n';
    if (!metrics.flush()) throw Error(ErrorKind::kIo, "metrics.jsonl cannot be written; is the disk full?");
    if (options.on_step) options.on_step(line);
    if (progress && !trainer.steps_progress()) progress->step(1);
    if (std::chrono::duration<double>(Clock::now() - last).count() < options.save_every_s) continue;
    save(trainer, step, options.folder);
    saved = step;
    last = Clock::now();
  }
  if (saved < step || !fs::exists(state_path(options.folder))) save(trainer, step, options.folder);
  if (progress) progress->end();
}

}  // namespace microtome
