// Progress of long work, and its cancellation: one object handed down through the layers.
//
//   progress.begin("prefill", tokens);  ...  progress.step(64);   // throws kCancelled once cancel() was called
//
// The sink decides what is seen: the terminal draws a line with rate and time left after two seconds, the server sends
// events, tests record. step() and cancel() may be called from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>

namespace microtome {

struct ProgressReport {
  std::string task;
  double done = 0, total = 0;  // total 0: unknown
  double seconds = 0;          // since begin()
  double seconds_left = -1;    // -1: unknown
  bool finished = false;
};

class Progress {
 public:
  using Sink = std::function<void(const ProgressReport&)>;
  Progress() = default;  // silent
  explicit Progress(Sink sink, double first_after_s = 2.0, double every_s = 0.1)
      : sink_(std::move(sink)), first_after_s_(first_after_s), every_s_(every_s) {}
  // A sink must have heard the end of what it began, even when work is cut short.
  ~Progress() { end(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void begin(std::string task, double total);
  void step(double amount = 1);
  void end();

  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }
  // Throws Error(kCancelled) if cancel() was called; called between layers, tokens, tiles.
  void check() const;

 private:
  void report(bool finished);
  Sink sink_;
  double first_after_s_ = 2.0, every_s_ = 0.1;
  std::string task_;
  double total_ = 0, done_ = 0, last_report_s_ = -1;
  std::chrono::steady_clock::time_point start_{};
  std::atomic<bool> cancelled_{false};
};

}  // namespace microtome
