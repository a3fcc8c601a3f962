#include <nlohmann/json.hpp>

#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

std::string number(const Json& value, const char* unit) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return fmt::format("{}{}", value.get<int64_t>(), unit);
  return value.is_number() ? fmt::format("{:.4g}{}", value.get<double>(), unit) : "-";
}

class BenchCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    options.group("What to measure");
    options.flag("--quick", "fewer repetitions", quick_);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome bench smollm2-135m");
    options.example("microtome bench smollm2-135m --compute native --threads 1 --json");
  }

  void run() override {
    check_writable(output_.out);
    LoadedModel loaded = model_.load(output_.quiet);
    const Json result = api::bench(loaded.context(), {.quick = quick_}, loaded.load_s());
    Output out(output_.out);
    if (output_.json) out.json(result);
    else out.write(text(result));
    out.finish();
  }

 private:
  static std::string text(const Json& r) {
    Table table({{"measure"}, {"", Align::kRight}});
    const auto row = [&](const std::string& name, const Json& value, const char* unit) {
      table.row({name, number(value, unit)});
    };
    const auto field = [&](const char* key) { return r.contains(key) ? r[key] : Json(); };
    row("model", field("model"), "");
    row("threads", field("threads"), "");
    row("instruction set", field("isa"), "");
    row("compute", field("compute"), "");
    row("matrix product", field("gemm_gflops"), " GFLOP/s");
    row("peak", field("peak_gflops"), " GFLOP/s");
    row("memory read", field("read_gb_s"), " GB/s");
    for (const Json& p : field("prefill"))
      table.row(
          {fmt::format("prompt of {} tokens", p["tokens"].get<int64_t>()),
           fmt::format("{:.4g} s, {:.4g} tokens/s", p["s"].get<double>(), p["tokens"].get<double>() / p["s"].get<double>())});
    for (const Json& d : field("decode"))
      row(fmt::format("decode after {} tokens", d["context"].get<int64_t>()), d["tokens_per_s"], " tokens/s");
    row("trace of every site", field("trace_all_s"), " s");
    row("load", field("load_s"), " s");
    table.row({"resident memory", field("rss_bytes").is_number() ? bytes_text(field("rss_bytes").get<double>()) : "-"});
    return table.text(terminal_columns());
  }

  ModelArguments model_;
  OutputArguments output_;
  bool quick_ = false;
};

}  // namespace

std::unique_ptr<Command> make_bench() { return std::make_unique<BenchCommand>(); }

}  // namespace microtome::cli
