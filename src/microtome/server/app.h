// The application: from a request to an answer. Checks who asks, finds the route, turns every exception into an answer.
#pragma once

#include "microtome/server/access.h"
#include "microtome/server/engine.h"
#include "microtome/server/http_message.h"
#include "microtome/server/model_slot.h"

namespace microtome::server {

// Refers to what it is given. `handle` may be called from any number of threads; it does not throw.
class App {
 public:
  App(Engine& engine, const ModelSlot& slot, AccessRules rules) : engine_(engine), slot_(slot), rules_(std::move(rules)) {}
  HttpResponse handle(const HttpRequest& request) noexcept;

 private:
  HttpResponse route(const HttpRequest& request);
  HttpResponse post(const HttpRequest& request);

  Engine& engine_;
  const ModelSlot& slot_;
  const AccessRules rules_;
};

}  // namespace microtome::server
