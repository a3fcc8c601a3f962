#include "microtome/server/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "microtome/base/error.h"

namespace microtome::server {
namespace {

using namespace std::chrono_literals;

// Long enough for any machine; nothing waits for it where the engine works.
constexpr auto kPatience = 60s;

Ticket::Outcome next(const std::shared_ptr<Ticket>& ticket, std::string& event) { return ticket->next(event, kPatience); }

TEST(Engine, hands_over_events_in_order_then_the_end) {
  Engine engine;
  const auto ticket = engine.submit([](Job& job) {
    job.emit("a");
    job.emit("b");
  });
  std::string event;
  EXPECT_EQ(next(ticket, event), Ticket::kEvent);
  EXPECT_EQ(event, "a");
  EXPECT_EQ(next(ticket, event), Ticket::kEvent);
  EXPECT_EQ(event, "b");
  EXPECT_EQ(next(ticket, event), Ticket::kDone);
  EXPECT_NO_THROW(ticket->rethrow());
}

TEST(Engine, hands_over_what_a_job_throws) {
  Engine engine;
  const auto ticket = engine.submit([](Job&) { throw Error(ErrorKind::kNotFound, "no such site"); });
  std::string event;
  EXPECT_EQ(next(ticket, event), Ticket::kDone);
  EXPECT_THROW(ticket->rethrow(), Error);
}

TEST(Engine, runs_one_job_at_a_time_in_order) {
  Engine engine;
  std::atomic<int> running{0}, most{0};
  std::vector<int> order;
  std::vector<std::shared_ptr<Ticket>> tickets;
  for (int i = 0; i < 16; ++i)
    tickets.push_back(engine.submit([&, i](Job&) {
      most = std::max<int>(most, ++running);
      order.push_back(i);
      --running;
    }));
  std::string event;
  for (const auto& t : tickets) EXPECT_EQ(next(t, event), Ticket::kDone);
  EXPECT_EQ(most, 1);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(Engine, stops_a_job_whose_ticket_is_dropped) {
  Engine engine;
  std::promise<void> started, stopped;
  auto ticket = engine.submit([&](Job& job) {
    started.set_value();
    try {
      for (;;) job.progress().step();
    } catch (const Error&) {
      stopped.set_value();
      throw;
    }
  });
  started.get_future().wait();
  ticket = nullptr;
  EXPECT_EQ(stopped.get_future().wait_for(kPatience), std::future_status::ready);
}

TEST(Engine, never_runs_a_waiting_job_whose_ticket_is_dropped) {
  Engine engine;
  std::promise<void> go;
  const auto first = engine.submit([gate = go.get_future().share()](Job&) { gate.wait(); });
  std::atomic<bool> ran{false};
  engine.submit([&](Job&) { ran = true; });  // dropped at once
  const auto last = engine.submit([](Job&) {});
  go.set_value();
  std::string event;
  EXPECT_EQ(next(last, event), Ticket::kDone);
  EXPECT_FALSE(ran);
}

TEST(Engine, refuses_more_than_may_wait_and_frees_places_of_those_who_left) {
  Engine engine(2);
  std::promise<void> go, started;
  const auto running = engine.submit([&, gate = go.get_future().share()](Job&) {
    started.set_value();
    gate.wait();
  });
  started.get_future().wait();
  auto a = engine.submit([](Job&) {});
  auto b = engine.submit([](Job&) {});
  EXPECT_NE(b, nullptr);
  EXPECT_EQ(engine.submit([](Job&) {}), nullptr);
  a = nullptr;
  EXPECT_NE(engine.submit([](Job&) {}), nullptr);
  go.set_value();
}

TEST(Engine, survives_a_report_that_cannot_be_sent) {
  Engine engine;
  std::atomic<int> reports{0};
  const auto ticket = engine.submit(
      [&](Job& job) {
        job.progress().begin("work", 1);
        while (reports == 0) job.progress().step(0);  // the first report comes after two seconds
      },
      [&](Job&, const ProgressReport&) {
        ++reports;
        throw Error(ErrorKind::kCancelled, "the client has left");
      });
  std::string event;
  EXPECT_EQ(next(ticket, event), Ticket::kDone);
  EXPECT_NO_THROW(ticket->rethrow());
  EXPECT_EQ(reports, 1);
}

TEST(Engine, ends_waiting_and_running_jobs_when_it_stops) {
  Engine engine;
  std::promise<void> started;
  const auto running = engine.submit([&](Job& job) {
    started.set_value();
    for (;;) job.progress().step();
  });
  started.get_future().wait();
  const auto waiting = engine.submit([](Job&) {});
  engine.stop();
  std::string event;
  EXPECT_EQ(next(waiting, event), Ticket::kDone);
  EXPECT_THROW(waiting->rethrow(), Error);
  EXPECT_EQ(next(running, event), Ticket::kDone);
  EXPECT_THROW(running->rethrow(), Error);
  EXPECT_EQ(engine.submit([](Job&) {}), nullptr);
}

}  // namespace
}  // namespace microtome::server
