// Activation patching by sweep: residual stream by layer and position, and every head's z, over eight prompt pairs.
//
//   sweep_bench MODEL [--threads N] [--json]
//
// Cases (circuits specification, sections 7 and 13): random tokens that differ from position 6 on (15 tokens), from 9 on (14, as
// IOI prompts do), from the first on (15); heads' z. For each: seconds, base runs included, and the multiply-adds of a plain loop
// and of this one.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/sweep.h"

namespace microtome {
namespace {

constexpr int kPairs = 8;

struct Case {
  const char* name;
  int64_t tokens, first_difference;
  bool heads;
};

constexpr Case kCases[] = {{"residual, 15 tokens, from 6", 15, 6, false},
                           {"residual, 14 tokens, from 9", 14, 9, false},
                           {"residual, 15 tokens, from 0", 15, 0, false},
                           {"z, 14 tokens, from 9", 14, 9, true},
                           {"z, 15 tokens, from 6", 15, 6, true}};

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<int32_t> tokens(const Model& model, const Case& c, int pair, bool clean) {
  const Philox shared(0, "both"), own(pair, clean ? "clean" : "corrupted");
  std::vector<int32_t> out;
  for (int64_t p = 0; p < c.tokens; ++p)
    out.push_back(static_cast<int32_t>((p < c.first_difference ? shared : own).below(model.config().vocab, pair * 100 + p)));
  return out;
}

std::vector<Intervention> interventions(const Model& model, const Case& c) {
  const Config& config = model.config();
  std::vector<Site> sites;
  for (int l = 0; l < static_cast<int>(config.n_layers); ++l) sites.push_back({c.heads ? SiteKind::kZ : SiteKind::kResidPre, l});
  std::vector<Intervention> list;
  for (int i = 0; i < kPairs; ++i) {
    const std::vector<Tensor> clean = values_at(model, tokens(model, c, i, true), sites);
    for (size_t l = 0; l < sites.size(); ++l) {
      if (!c.heads)
        for (int64_t p = 0; p < c.tokens; ++p)
          list.push_back({i, {set_edit(sites[l], {.pos = Range{p, p + 1}}, clean[l].slice(p, p + 1))}});
      for (int64_t h = 0; c.heads && h < config.n_heads; ++h) {
        const SiteValue value{sites[l], nullptr, -1, clean[l]};
        list.push_back({i, {set_edit(sites[l], {.head = Range{h, h + 1}}, take_slice(value, {.head = Range{h, h + 1}}))}});
      }
    }
  }
  return list;
}

nlohmann::ordered_json measure(const Model& model, const Case& c) {
  const double start = now_s();
  std::vector<SweepHost> hosts;
  for (int i = 0; i < kPairs; ++i)
    hosts.push_back({tokens(model, c, i, false), {static_cast<int32_t>(c.tokens) - 1}, {2 * i, 2 * i + 1}});
  Sweep sweep(model, std::move(hosts));
  const auto list = interventions(model, c);
  sweep.run(list, [](size_t, const Tensor&) {});
  const SweepMacs& macs = sweep.macs();
  return {{"case", c.name},           {"interventions", list.size()}, {"seconds", now_s() - start},
          {"plain_macs", macs.plain}, {"planned_macs", macs.planned}, {"executed_macs", macs.executed}};
}

int run(int argc, char** argv) {
  std::string path;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--threads" && i + 1 < argc) set_num_threads(std::atoi(argv[++i]));
    else if (arg == "--json") json = true;
    else path = arg;
  }
  const auto model = Model::load(path);
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Case& c : kCases) out.push_back(measure(*model, c));
  if (json) {
    std::printf("%s\n", nlohmann::ordered_json{{"threads", num_threads()}, {"cases", out}}.dump().c_str());
    return 0;
  }
  fmt::print("{:30} {:>14} {:>9} {:>12} {:>12} {:>8}\n", "8 prompt pairs", "interventions", "s", "plain GMAC", "done GMAC",
             "saved");
  for (const auto& r : out) {
    const double plain = r["plain_macs"].get<double>(), done = r["executed_macs"].get<double>();
    fmt::print("{:30} {:>14} {:>9.2f} {:>12.1f} {:>12.1f} {:>7.1f}x\n", r["case"].get<std::string>(),
               r["interventions"].get<int>(), r["seconds"].get<double>(), plain / 1e9, done / 1e9, plain / done);
  }
  return 0;
}

}  // namespace
}  // namespace microtome

int main(int argc, char** argv) {
  try {
    return microtome::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
