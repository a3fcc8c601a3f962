// Fitting a Jacobian lens: seconds for one prompt of 128 tokens, from a part of its derivatives.
//
//   jacobian_bench MODEL [--threads N] [--bf16] [--json]
//
// Prints wall and processor seconds for each output (of D) without the forward pass, which is the same for any number, and
// what a whole prompt takes. bench/jacobian_pytorch.py measures the same estimator in PyTorch.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/lens/jacobian_lens.h"

namespace microtome {
namespace {

constexpr int64_t kTokens = 128, kFew = 18, kMany = 72;  // whole batches of cotangents on the default model

struct Seconds {
  double wall, processor;
};

Seconds measure(const Model& model, int64_t outputs, bool bf16) {
  const Philox rng(1, "bench prompt");
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < kTokens; ++i) prompt.push_back(static_cast<int32_t>(rng.below(model.config().vocab, i)));
  JacobianSum sum(model.config());
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t processor = std::clock();
  sum.add(model, prompt, {.bf16 = bf16, .outputs = outputs});
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC};
}

int run(int argc, char** argv) {
  std::string path;
  bool json = false, bf16 = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--threads" && i + 1 < argc) set_num_threads(std::atoi(argv[++i]));
    else if (arg == "--json") json = true;
    else if (arg == "--bf16") bf16 = true;
    else path = arg;
  }
  const auto model = Model::load(path);
  measure(*model, kFew, bf16);  // memory, pages, primitives
  const Seconds few = measure(*model, kFew, bf16), many = measure(*model, kMany, bf16);
  const auto outputs = static_cast<double>(model->config().d_model);
  const auto whole = [&](double a, double b) { return a + (b - a) * (outputs - kFew) / (kMany - kFew); };
  const nlohmann::ordered_json result{{"threads", num_threads()},
                                      {"wall_s_per_output", (many.wall - few.wall) / (kMany - kFew)},
                                      {"processor_s_per_output", (many.processor - few.processor) / (kMany - kFew)},
                                      {"wall_s_per_prompt", whole(few.wall, many.wall)},
                                      {"processor_s_per_prompt", whole(few.processor, many.processor)}};
  if (json) {
    fmt::print("{}\n", result.dump());
    return 0;
  }
  for (const auto& [key, value] : result.items()) fmt::print("{:<28} {:.4g}\n", key, value.get<double>());
  return 0;
}

}  // namespace
}  // namespace microtome

int main(int argc, char** argv) {
  try {
    return microtome::run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "jacobian_bench: error: {}\n", e.what());
    return 2;
  }
}
