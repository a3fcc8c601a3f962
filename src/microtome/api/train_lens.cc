#include "microtome/api/train_lens.h"

#include <nlohmann/json.hpp>

#include "microtome/base/file.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/sha256.h"
#include "microtome/lens/jacobian_trainer.h"
#include "microtome/lens/lens_evaluation.h"
#include "microtome/lens/lens_file.h"
#include "microtome/lens/model_hash.h"
#include "microtome/lens/tuned_lens.h"

namespace microtome::api {
namespace {

constexpr int64_t kHeldoutPositions = 1024;
constexpr int64_t kJacobianPrompts = 100, kTunedSteps = 500;

TokenCursor cursor_of(const Context& context, const std::vector<std::string>& documents, const TrainLensOptions& o) {
  const Tokenizer& tokenizer = context.model->need_tokenizer();
  std::vector<std::vector<int32_t>> tokens;
  for (const std::string& text : documents) {
    if (context.progress) context.progress->check();
    tokens.push_back(tokenizer.encode(text, {.specials = false, .add_bos = false, .add_eos = false}));
  }
  std::optional<int32_t> first;
  if (tokenizer.adds_bos() && tokenizer.bos()) first = *tokenizer.bos();
  return TokenCursor(std::move(tokens), o.context, o.seed, first);
}

std::string hash_of(const std::vector<std::string>& documents) {
  Sha256 hash;
  for (const std::string& d : documents) {
    const uint64_t n = d.size();
    hash.update(std::as_bytes(std::span(&n, 1)));
    hash.update(as_byte_span(d));
  }
  return hash.hex();
}

// What a state may be taken up by.
Json identity_of(const TrainLensOptions& o, const std::string& model_hash) {
  return {{"model_sha256", model_hash}, {"text_sha256", hash_of(o.train)}, {"context", o.context}, {"seed", o.seed}};
}

FittedLens fit(const Context& context, const TrainLensOptions& o, const Json& identity,
               const std::function<void(const Json&)>& on_step) {
  const Model& model = *context.model;
  TokenCursor cursor = cursor_of(context, o.train, o);
  LoopOptions loop{.folder = o.folder, .resume = o.resume, .on_step = on_step, .progress = context.progress};
  if (o.kind == LensKind::kJacobian) {
    loop.steps = o.tokens > 0 ? (o.tokens + o.context - 1) / o.context : kJacobianPrompts;
    loop.task = "fit jacobian lens, prompts";
    JacobianTrainer trainer(model, std::move(cursor), {.bf16 = model.compute() == Compute::kBF16}, identity);
    run_training(trainer, loop);
    return trainer.sum().lens();
  }
  loop.steps = o.tokens > 0 ? (o.tokens + o.batch - 1) / o.batch : kTunedSteps;
  loop.task = "fit tuned lens, steps";
  TunedTrainer trainer(model, std::move(cursor), {.steps = loop.steps, .positions = o.batch, .seed = o.seed}, identity);
  run_training(trainer, loop);
  return trainer.lens();
}

std::vector<std::vector<int32_t>> heldout_windows(const Context& context, const TrainLensOptions& o) {
  TokenCursor cursor = cursor_of(context, o.heldout, o);
  std::vector<std::vector<int32_t>> windows;
  for (int64_t n = 0; n < kHeldoutPositions && cursor.position() < cursor.windows(); n += o.context)
    windows.push_back(cursor.next());
  return windows;
}

}  // namespace

std::filesystem::path default_lens_folder(const Context& context, LensKind kind) {
  const std::string name = std::filesystem::path(context.name).stem().string();
  return data_home() / "lenses" / (name + "-" + lens_kind_name(kind));
}

Json train_lens(const Context& context, const TrainLensOptions& o, const std::function<void(const Json&)>& on_step) {
  const Model& model = *context.model;
  if (o.context < 20 || o.context > model.config().context)
    throw FieldError("context", fmt::format("context is {}, expected 20 to {}", o.context, model.config().context));
  const std::string model_hash = model_sha256(model);
  const Json identity = identity_of(o, model_hash);
  const auto windows = heldout_windows(context, o);
  FittedLens lens = fit(context, o, identity, on_step);
  lens.model = context.name;
  lens.model_sha256 = model_hash;
  lens.fit = dump_json(identity);
  const std::filesystem::path path = o.folder / "lens.safetensors";
  save_lens(path, lens, LensStorage::kInt8);
  if (!o.export_file.empty()) export_jacobian(o.export_file, lens);

  if (context.progress) context.progress->begin("evaluate on held-out text", 2.0 * static_cast<double>(windows.size()));
  const std::vector<LayerKl> shipped = evaluate_lens(model, rounded_to_int8(lens), windows, context.progress);
  const std::vector<LayerKl> full = evaluate_lens(model, lens, windows, context.progress);
  if (context.progress) context.progress->end();
  Json layers = Json::array();
  for (size_t i = 0; i < shipped.size(); ++i)
    layers.push_back({{"layer", shipped[i].layer},
                      {"kl", shipped[i].kl},
                      {"kl_logit_lens", shipped[i].kl_logit_lens},
                      {"kl_f32", full[i].kl}});
  return {{"model", context.name},
          {"kind", lens_kind_name(o.kind)},
          {"path", path.string()},
          {"bytes", std::filesystem::file_size(path)},
          {o.kind == LensKind::kJacobian ? "prompts" : "tokens", lens.n_prompts},
          {"layers", std::move(layers)}};
}

}  // namespace microtome::api
