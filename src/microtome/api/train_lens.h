// `train lens`: fits a tuned or a Jacobian lens to a model, step by step, and writes it as a file that `lens` reads.
//
//   TrainLensOptions o{.kind = LensKind::kJacobian, .train = documents, .heldout = others, .folder = "out"};
//   Json result = train_lens(context, o, [](const Json& line) { ... });
//
// In the folder: `lens.safetensors` (int8 with row scales), the state to go on from, and the metrics of each step. Documents
// are read by the caller (train/documents.h): the command line reads files, the server takes none.
#pragma once

#include <filesystem>
#include <functional>

#include "microtome/api/request.h"
#include "microtome/lens/fitted_lens.h"

namespace microtome::api {

struct TrainLensOptions {
  LensKind kind = LensKind::kTuned;
  std::vector<std::string> train, heldout;  // documents
  int64_t tokens = 0;                       // seen (jacobian: prompts x context; tuned: positions drawn); 0: 12,800 and 128,000
  int64_t context = 128;                    // tokens of a window
  int64_t batch = 256;                      // tuned: positions of a step
  uint64_t seed = 0;
  std::filesystem::path folder;
  bool resume = false;
  std::filesystem::path export_file;  // jacobian: the published format, unrounded; empty: none
};

// Where a lens goes that is given no folder: data_home()/lenses/MODEL-KIND.
std::filesystem::path default_lens_folder(const Context& context, LensKind kind);

// {model, kind, path, bytes, prompts, tokens, layers[{layer, kl, kl_logit_lens, kl_f32}]}: mean KL(final || lens) in nats over
// 1,024 held-out positions, of the file as it is shipped (kl), before it was rounded to int8 (kl_f32), and of the logit lens.
// `on_step` sees a line a step: {step, ..}. Throws InvalidArgument (texts too short, a run of other options), Cancelled with the
// state saved.
Json train_lens(const Context& context, const TrainLensOptions& options, const std::function<void(const Json&)>& on_step = {});

}  // namespace microtome::api
