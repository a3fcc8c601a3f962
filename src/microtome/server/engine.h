// The engine: one thread that runs every forward pass, a bounded queue of jobs before it, and a way to stop them.
//
//   auto ticket = engine.submit([=](Job& job) { ...; job.emit(event); ... });   // null: too many wait already
//   while (ticket->next(event, 200ms) == Ticket::kEvent) send(event);
//   ticket->rethrow();
//
// A job outlives the handler that queued it: its closure owns what it uses. Dropping the ticket cancels the job, which ends at
// the next layer or token. `submit` and tickets may be used from any thread; `Job` belongs to the engine's.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "microtome/base/progress.h"

namespace microtome::server {

class Job {
 public:
  using Work = std::function<void(Job&)>;
  explicit Job(Work work, Progress::Sink sink = {}) : work_(std::move(work)), progress_(std::move(sink)) {}

  // Hands an event to the client. Throws kCancelled if the job was cancelled, or the client is further behind than memory allows.
  void emit(std::string event);
  Progress& progress() { return progress_; }

 private:
  friend class Engine;
  friend class Ticket;
  void run();
  void finish(std::exception_ptr error);

  Work work_;
  Progress progress_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> events_;
  size_t pending_bytes_ = 0;
  bool done_ = false;
  std::exception_ptr error_;
};

class Ticket {
 public:
  explicit Ticket(std::shared_ptr<Job> job) : job_(std::move(job)) {}
  ~Ticket() { job_->progress_.cancel(); }
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  enum Outcome { kEvent, kDone, kTimeout };
  // The next event in order; kDone once the job has ended and every event was taken.
  Outcome next(std::string& event, std::chrono::milliseconds timeout);
  // After kDone: throws what ended the job, if anything did.
  void rethrow() const;

 private:
  std::shared_ptr<Job> job_;
};

class Engine {
 public:
  explicit Engine(size_t most_waiting = 32);
  ~Engine();  // cancels what runs and what waits
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // `sink` hears the job's progress, on the engine's thread; it is given the job to emit events to.
  std::shared_ptr<Ticket> submit(Job::Work work, std::function<void(Job&, const ProgressReport&)> sink = {});

  // Cancels everything; what is submitted later is refused. For shutting down.
  void stop();

 private:
  void loop();

  const size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::shared_ptr<Job> running_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace microtome::server
