// The server: the page, the OpenAI-compatible endpoints and every command over HTTP.
//
//   ServeOptions options{.model_name = "smollm2-135m", .load = [&] { return Model::load(path); }};
//   return serve(options);                          // until SIGINT or SIGTERM
//
// One engine thread runs every forward (engine.h); connections wait for it on threads of their own (http_server.h). The page
// is up before the model is: until then requests that need it get 503.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "microtome/model/model.h"

namespace microtome {

struct ServeOptions {
  std::string host = "127.0.0.1";
  int port = 8571;                         // 0: any free one
  std::vector<std::string> allow_origins;  // as browsers send them: "https://example.org"; "*" allows every page
  std::string model_name;                  // what results and /v1/models call the model
  // Loads the model, on the engine's thread. Empty: the page alone, whose recorded traces need no model.
  std::function<std::shared_ptr<const Model>()> load;
};

// Prints "microtome is at http://127.0.0.1:8571" on stdout once it listens, then blocks until SIGINT or SIGTERM and returns 0.
// Throws Io if the address cannot be bound, InvalidArgument for a port or an origin that is none, and what `load` throws.
int serve(const ServeOptions& options);

}  // namespace microtome
