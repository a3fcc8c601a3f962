#include "microtome/base/threads.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/server/server.h"

namespace microtome::cli {
namespace {

class ServeCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options, false);
    options.group("Network");
    options.text("--host", "ADDRESS", "address to listen at (default 127.0.0.1: this machine alone)", host_);
    options.integer("--port", "N", "port (default 8571; 0: any that is free)", port_, 0, 65535);
    options.texts("--allow-origin", "ORIGIN", "another page that may ask, as in https://example.org", origins_);
    model_.declare_machine(options);
    options.flag("--quiet", "no remarks", quiet_);
    options.example("microtome serve smollm2-135m");
    options.example("microtome serve smollm2-135m --port 9000 --threads 4");
    options.example("microtome serve smollm2-135m --allow-origin https://notebook.example.org");
  }

  void run() override {
    ServeOptions options{.host = host_.value_or("127.0.0.1"),
                         .port = static_cast<int>(port_),
                         .allow_origins = origins_,
                         .model_name = model_.model,
                         .load = {}};
    set_num_threads(static_cast<int>(model_.threads));
    if (!model_.model.empty())
      options.load = [path = api::resolve_model(model_.model), compute = model_.compute_mode()] {
        return Model::load(path, {.compute = compute});
      };
    serve(options);
  }

 private:
  ModelArguments model_;
  std::optional<std::string> host_;
  int64_t port_ = 8571;
  std::vector<std::string> origins_;
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_serve() { return std::make_unique<ServeCommand>(); }

}  // namespace microtome::cli
