#include "microtome/server/engine.h"

#include "microtome/base/error.h"

namespace microtome::server {
namespace {

// Events that a slow client may leave lying: more, and it is taken for one that has stopped reading.
constexpr size_t kMostPendingBytes = 64 << 20;

}  // namespace

void Job::emit(std::string event) {
  progress_.check();
  {
    const std::lock_guard lock(mutex_);
    if (pending_bytes_ + event.size() > kMostPendingBytes)
      throw Error(ErrorKind::kCancelled, "the client does not read its stream");
    pending_bytes_ += event.size();
    events_.push_back(std::move(event));
  }
  changed_.notify_all();
}

void Job::run() {
  std::exception_ptr error;
  try {
    progress_.check();
    work_(*this);
  } catch (...) {
    error = std::current_exception();
  }
  work_ = nullptr;
  finish(error);
}

void Job::finish(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    done_ = true;
  }
  changed_.notify_all();
}

Ticket::Outcome Ticket::next(std::string& event, std::chrono::milliseconds timeout) {
  std::unique_lock lock(job_->mutex_);
  if (!job_->changed_.wait_for(lock, timeout, [&] { return job_->done_ || !job_->events_.empty(); })) return kTimeout;
  if (job_->events_.empty()) return kDone;
  event = std::move(job_->events_.front());
  job_->events_.pop_front();
  job_->pending_bytes_ -= event.size();
  return kEvent;
}

void Ticket::rethrow() const {
  const std::lock_guard lock(job_->mutex_);
  if (job_->error_) std::rethrow_exception(job_->error_);
}

Engine::Engine(size_t most_waiting) : most_waiting_(most_waiting), thread_([this] { loop(); }) {}

Engine::~Engine() {
  stop();
  thread_.join();
}

std::shared_ptr<Ticket> Engine::submit(Job::Work work, std::function<void(Job&, const ProgressReport&)> sink) {
  // The sink lives in the job that it is given. It must not throw: Progress calls it from its destructor too, and a job that was
  // cancelled meanwhile ends at its next check.
  auto self = std::make_shared<Job*>(nullptr);
  const auto forward_report = [self, sink](const ProgressReport& report) {
    try {
      if (!report.finished) sink(**self, report);
    } catch (const Error&) {}
  };
  auto job = std::make_shared<Job>(std::move(work), sink ? Progress::Sink(forward_report) : Progress::Sink());
  *self = job.get();
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(waiting_, [](const std::shared_ptr<Job>& j) { return j->progress_.cancelled(); });
    if (stopping_ || waiting_.size() >= most_waiting_) return nullptr;
    waiting_.push_back(job);
  }
  changed_.notify_one();
  return std::make_shared<Ticket>(std::move(job));
}

void Engine::stop() {
  std::deque<std::shared_ptr<Job>> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(waiting_);
    if (running_) running_->progress_.cancel();
  }
  const auto reason = std::make_exception_ptr(Error(ErrorKind::kCancelled, "the server is shutting down"));
  for (const auto& job : dropped) job->finish(reason);
  changed_.notify_one();
}

void Engine::loop() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      running_ = std::move(waiting_.front());
      waiting_.pop_front();
    }
    running_->run();
    const std::lock_guard lock(mutex_);
    running_ = nullptr;
  }
}

}  // namespace microtome::server
