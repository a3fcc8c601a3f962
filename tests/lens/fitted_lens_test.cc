// Fitted lenses: what they are made of, where they stand, what they do on planted models, and how a fit is taken up again.
#include "microtome/lens/fitted_lens.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "../formats/malformed.h"
#include "microtome/base/rng.h"
#include "microtome/lens/jacobian_trainer.h"
#include "microtome/lens/lens_evaluation.h"
#include "microtome/lens/lens_file.h"
#include "microtome/lens/logit_lens.h"
#include "microtome/lens/model_hash.h"
#include "microtome/lens/tuned_lens.h"
#include "planted_lens_model.h"

namespace microtome {
namespace {

std::shared_ptr<const Model> golden_model(const char* name) {
  return Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models" / name);
}

std::vector<int32_t> random_tokens(int64_t vocab, int64_t n, uint64_t seed) {
  const Philox rng(seed, "test tokens");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.below(vocab, i)));
  return ids;
}

// One long text for each token, of that token alone.
std::vector<std::vector<int32_t>> repeated_tokens(int64_t vocab, int64_t n) {
  std::vector<std::vector<int32_t>> out;
  for (int32_t t = 0; t < vocab; ++t) out.emplace_back(n, t);
  return out;
}

FittedLens identity_lens(const Config& c, LensKind kind) {
  FittedLens lens;
  lens.kind = kind;
  lens.d_model = c.d_model;
  for (int64_t l = 0; l < c.n_layers - (kind == LensKind::kJacobian ? 1 : 0); ++l)
    lens.layers.push_back({Tensor::zeros({c.d_model, c.d_model}), Tensor::zeros({c.d_model})});
  return lens;
}

std::string content(const std::filesystem::path& file) {
  std::ostringstream out;
  out << std::ifstream(file, std::ios::binary).rdbuf();
  return out.str();
}

TEST(FittedLens, of_identity_maps_is_the_logit_lens_bit_for_bit) {
  const auto model = golden_model("llama_gqa_tied");
  Batch batch;
  batch.add_sequence(random_tokens(model->config().vocab, 8, 1));
  Plan plain_plan, plan;
  const LensResult plain = logit_lens(*model, batch, plain_plan, {.top = 96});
  for (const LensKind kind : {LensKind::kTuned, LensKind::kJacobian}) {
    const FittedLens lens = identity_lens(model->config(), kind);
    Plan reads;
    const LensResult r = logit_lens(*model, batch, reads, {.top = 96, .lens = &lens});
    ASSERT_EQ(r.cells.size(), plain.cells.size());
    for (size_t i = 0; i < r.cells.size(); ++i) {
      EXPECT_EQ(r.cells[i].kl_to_final, plain.cells[i].kl_to_final);
      EXPECT_EQ(r.kl_logit_lens[i], plain.cells[i].kl_to_final);
      for (size_t k = 0; k < r.cells[i].top.size(); ++k) EXPECT_EQ(r.cells[i].top[k].logprob, plain.cells[i].top[k].logprob);
    }
    for (size_t i = 0; i < r.rows.size(); ++i) EXPECT_LE(r.at(r.points.size() - 1, i).kl_to_final, 1e-6);
  }
}

TEST(FittedLens, maps_stand_at_the_input_of_their_block_or_the_output_of_the_one_before) {
  const auto model = golden_model("llama_gqa_tied");
  FittedLens tuned = identity_lens(model->config(), LensKind::kTuned),
             jacobian = identity_lens(model->config(), LensKind::kJacobian);
  EXPECT_EQ(tuned.at_point(0), &tuned.layers[0]);
  EXPECT_EQ(tuned.at_point(3), nullptr);
  EXPECT_EQ(jacobian.at_point(0), nullptr);
  EXPECT_EQ(jacobian.at_point(2), &jacobian.layers[1]);
  EXPECT_EQ(jacobian.at_point(3), nullptr) << "the final stream is what it is";
}

// Ranks of each window's token (one token repeated) at the input of block 1.
std::vector<int64_t> ranks(const Model& model, const FittedLens* lens) {
  std::vector<int64_t> out;
  for (const auto& window : repeated_tokens(16, 5)) {
    Batch batch;
    batch.add_sequence(window);
    Plan plan;
    LensOptions options{.rows = {4}, .targets = window, .lens = lens};
    const LensResult r = logit_lens(model, batch, plan, options);
    EXPECT_EQ(r.at(2, 0).target_rank, 1) << "the model's own answer";
    out.push_back(r.at(1, 0).target_rank);
  }
  return out;
}

TEST(FittedLens, the_jacobian_undoes_a_planted_turn_of_the_basis) {
  TempFolder folder;
  const auto model = turning_model(folder);
  JacobianSum sum(model->config());
  for (uint64_t i = 0; i < 3; ++i) sum.add(*model, random_tokens(16, 30, i), {.skip = 0});
  const FittedLens lens = sum.lens();
  for (const int64_t rank : ranks(*model, nullptr)) EXPECT_GT(rank, 1) << "the logit lens fails";
  for (const int64_t rank : ranks(*model, &lens)) EXPECT_EQ(rank, 1);
  // And it is the turn: column j has its one at row j + 1.
  for (int64_t i = 0; i < 16; ++i)
    for (int64_t j = 0; j < 16; ++j)
      EXPECT_NEAR(lens.layers[0].delta.f32()[i * 16 + j] + (i == j), i == (j + 1) % 16 ? 1 : 0, 1e-5);
}

TEST(FittedLens, the_tuned_lens_recovers_a_planted_map) {
  TempFolder folder, out;
  const auto model = turning_model(folder);
  TokenCursor cursor(repeated_tokens(16, 64), 8, 1);
  TunedTrainer trainer(*model, cursor, {.steps = 300, .positions = 64}, {});
  run_training(trainer, {.folder = out.path(), .steps = 300});
  const FittedLens lens = trainer.lens();
  const auto kl = evaluate_lens(*model, lens, repeated_tokens(16, 8));
  ASSERT_EQ(kl.size(), 2u);
  EXPECT_GT(kl[1].kl_logit_lens, 3) << "there is something to recover";
  EXPECT_LT(kl[1].kl, 0.05 * kl[1].kl_logit_lens);
  for (const int64_t rank : ranks(*model, &lens)) EXPECT_EQ(rank, 1);
}

TEST(FittedLens, a_tuned_lens_is_no_further_from_the_answer_than_the_logit_lens_on_held_out_text) {
  for (const char* name : {"gpt2", "llama_gqa_tied", "neox_parallel"}) {
    TempFolder out;
    const auto model = golden_model(name);
    std::vector<std::vector<int32_t>> train, heldout;
    for (uint64_t i = 0; i < 40; ++i) train.push_back(random_tokens(model->config().vocab, 24, i));
    for (uint64_t i = 0; i < 10; ++i) heldout.push_back(random_tokens(model->config().vocab, 24, 1000 + i));
    TunedTrainer trainer(*model, TokenCursor(train, 24, 1), {.steps = 60, .positions = 96}, {});
    run_training(trainer, {.folder = out.path(), .steps = 60});
    for (const LayerKl& k : evaluate_lens(*model, trainer.lens(), heldout))
      EXPECT_LE(k.kl, k.kl_logit_lens) << name << " " << k.layer;
  }
}

struct Killed {};

// Runs to `steps`, dying behind step `kill` and being taken up again.
void run_with_a_kill(const std::function<std::unique_ptr<Trainer>()>& make, const std::filesystem::path& folder, int64_t steps,
                     int64_t kill, double save_every_s) {
  {
    const auto trainer = make();
    int64_t seen = 0;
    EXPECT_THROW(run_training(*trainer, {.folder = folder,
                                         .steps = steps,
                                         .save_every_s = save_every_s,
                                         .on_step =
                                             [&](const Json&) {
                                               if (++seen == kill) throw Killed();
                                             }}),
                 Killed);
  }
  const auto trainer = make();
  run_training(*trainer, {.folder = folder, .steps = steps, .resume = true});
}

TEST(Fits, killed_and_taken_up_again_end_with_the_same_bytes) {
  const auto model = golden_model("llama_gqa_tied");
  std::vector<std::vector<int32_t>> text;
  for (uint64_t i = 0; i < 6; ++i) text.push_back(random_tokens(model->config().vocab, 90, i));
  const std::function<std::unique_ptr<Trainer>()> makers[] = {
      [&] {
        return std::make_unique<JacobianTrainer>(*model, TokenCursor(text, 30, 7), JacobianOptions{}, Json{{"seed", 7}});
      },
      [&] {
        return std::make_unique<TunedTrainer>(*model, TokenCursor(text, 30, 7), TunedOptions{.steps = 6, .positions = 20},
                                              Json{{"seed", 7}});
      }};
  for (const auto& make : makers) {
    TempFolder whole, cut;
    run_training(*make(), {.folder = whole.path(), .steps = 6});
    run_with_a_kill(make, cut.path(), 6, 4, 0);  // steps 1 to 3 are in the state, the metrics have a fourth
    for (const char* file : {"state.safetensors", "metrics.jsonl"}) {
      EXPECT_GT(content(whole / file).size(), 0u);
      EXPECT_EQ(content(whole / file), content(cut / file)) << file;
    }
  }
}

// Cancels after so many checks, wherever in a step that is.
void run_with_a_cancel(const std::function<std::unique_ptr<Trainer>()>& make, const std::filesystem::path& folder, int64_t steps,
                       int64_t after_step) {
  Progress progress([](const ProgressReport&) {}, 0, 0);
  const auto trainer = make();
  int64_t seen = 0;
  std::jthread other;
  std::atomic<bool> go = false;
  other = std::jthread([&] {
    go.wait(false);
    progress.cancel();
  });
  try {
    run_training(*trainer, {.folder = folder,
                            .steps = steps,
                            .on_step =
                                [&](const Json&) {
                                  if (++seen != after_step) return;
                                  go = true;
                                  go.notify_all();
                                },
                            .progress = &progress});
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCancelled);
  }
  go = true;
  go.notify_all();
  run_training(*make(), {.folder = folder, .steps = steps, .resume = true});
}

TEST(Fits, cancelled_within_a_step_end_with_the_same_bytes) {
  const auto model = golden_model("llama_gqa_tied");
  std::vector<std::vector<int32_t>> text;
  for (uint64_t i = 0; i < 6; ++i) text.push_back(random_tokens(model->config().vocab, 90, i));
  const std::function<std::unique_ptr<Trainer>()> makers[] = {
      [&] {
        return std::make_unique<JacobianTrainer>(*model, TokenCursor(text, 30, 7), JacobianOptions{.rows_at_once = 30},
                                                 Json{{"seed", 7}});
      },
      [&] {
        return std::make_unique<TunedTrainer>(*model, TokenCursor(text, 30, 7), TunedOptions{.steps = 12, .positions = 20},
                                              Json{{"seed", 7}});
      }};
  for (const auto& make : makers) {
    TempFolder whole;
    run_training(*make(), {.folder = whole.path(), .steps = 12});
    for (int64_t after = 1; after < 10; after += 2) {
      TempFolder cut;
      run_with_a_cancel(make, cut.path(), 12, after);
      for (const char* file : {"state.safetensors", "metrics.jsonl"})
        EXPECT_EQ(content(whole / file), content(cut / file)) << file;
    }
  }
}

// Cancelled before the first step is over, which is when most is lost.
TEST(Fits, cancelled_in_their_first_step_can_be_taken_up) {
  const auto model = golden_model("llama_gqa_tied");
  const std::vector<std::vector<int32_t>> text{random_tokens(model->config().vocab, 90, 1)};
  TempFolder out;
  Progress progress;
  JacobianTrainer first(*model, TokenCursor(text, 30, 7), {}, {}), second(*model, TokenCursor(text, 30, 7), {}, {});
  progress.cancel();
  expect_error(ErrorKind::kCancelled, "",
               [&] { run_training(first, {.folder = out.path(), .steps = 2, .progress = &progress}); });
  EXPECT_EQ(first.sum().prompts(), 0);
  run_training(second, {.folder = out.path(), .steps = 2, .resume = true});
  EXPECT_EQ(second.sum().prompts(), 2);
}

TEST(Fits, are_taken_up_by_the_same_options_only) {
  const auto model = golden_model("gpt2");
  const std::vector<std::vector<int32_t>> text{random_tokens(model->config().vocab, 200, 1)};
  TempFolder out;
  const auto trainer = [&](int64_t seed) {
    return JacobianTrainer(*model, TokenCursor(text, 25, static_cast<uint64_t>(seed)), {}, Json{{"seed", seed}});
  };
  JacobianTrainer first = trainer(1), again = trainer(1), other = trainer(2);
  expect_error(ErrorKind::kNotFound, "no run to resume",
               [&] { run_training(first, {.folder = out.path(), .steps = 2, .resume = true}); });
  run_training(first, {.folder = out.path(), .steps = 2});
  expect_error(ErrorKind::kInvalidArgument, "--resume", [&] { run_training(again, {.folder = out.path(), .steps = 2}); });
  expect_error(ErrorKind::kInvalidArgument, "seed 1, not 2",
               [&] { run_training(other, {.folder = out.path(), .steps = 3, .resume = true}); });
  run_training(again, {.folder = out.path(), .steps = 4, .resume = true});  // more prompts for a finished fit
  EXPECT_EQ(again.sum().prompts(), 4);
}

// A run of 3 steps whose state then says something else.
void expect_corrupt(const std::function<std::unique_ptr<Trainer>()>& make, const std::string& part,
                    const std::function<void(Json& values)>& change, const std::string& metrics = "{}\n{}\n{}\n") {
  TempFolder out;
  const auto trainer = make();
  run_training(*trainer, {.folder = out.path(), .steps = 3});
  StateWriter state;
  trainer->save(state);
  state.values["step"] = 3;
  state.values["options"] = trainer->options();
  change(state.values);
  state.save(out / "state.safetensors");
  out.write("metrics.jsonl", metrics);
  expect_error(ErrorKind::kCorrupt, part, [&] { run_training(*make(), {.folder = out.path(), .steps = 4, .resume = true}); });
}

TEST(Fits, are_not_taken_up_from_states_that_contradict_themselves) {
  const auto model = golden_model("gpt2");
  const std::vector<std::vector<int32_t>> text{random_tokens(model->config().vocab, 200, 1)};
  const std::function<std::unique_ptr<Trainer>()> jacobian = [&] {
    return std::make_unique<JacobianTrainer>(*model, TokenCursor(text, 25, 1), JacobianOptions{}, Json::object());
  };
  const std::function<std::unique_ptr<Trainer>()> tuned = [&] {
    return std::make_unique<TunedTrainer>(*model, TokenCursor(text, 25, 1), TunedOptions{.steps = 4, .positions = 20},
                                          Json::object());
  };
  for (const auto& [make, own] : {std::pair{jacobian, "n_done"}, std::pair{tuned, "steps_done"}}) {
    const auto set = [](std::vector<const char*> keys, int64_t n) {
      return [keys, n](Json& values) {
        for (const char* key : keys) values[key] = n;
      };
    };
    expect_corrupt(make, "\"step\" is -5", set({"step"}, -5));
    expect_corrupt(make, own, set({own}, -5));
    expect_corrupt(make, "steps", set({"step"}, 2));
    expect_corrupt(make, "steps", set({"step", own}, 1'000'000'000'000'000));
    expect_corrupt(make, "options", [](Json& values) { values["options"] = 3; });
    expect_corrupt(make, "holds 2 whole lines, the state beside it 3 steps", set({}, 0), "{}\n{}\n{");
  }
}

TEST(Fits, that_are_interrupted_keep_the_steps_they_have_taken) {
  const auto model = golden_model("gpt2");
  const std::vector<std::vector<int32_t>> text{random_tokens(model->config().vocab, 200, 1)};
  TempFolder out;
  Progress progress;
  JacobianTrainer first(*model, TokenCursor(text, 25, 1), {}, {}), second(*model, TokenCursor(text, 25, 1), {}, {});
  expect_error(ErrorKind::kCancelled, "", [&] {
    run_training(first,
                 {.folder = out.path(), .steps = 5, .on_step = [&](const Json&) { progress.cancel(); }, .progress = &progress});
  });
  int steps = 0;
  run_training(second, {.folder = out.path(), .steps = 3, .resume = true, .on_step = [&](const Json&) { ++steps; }});
  EXPECT_EQ(steps, 2);
}

// --- files ---------------------------------------------------------------------------------------------------------------------

FittedLens random_lens(int64_t d, int64_t layers, LensKind kind) {
  const Philox rng(3, "random lens");
  FittedLens lens;
  lens.kind = kind;
  lens.d_model = d;
  lens.n_prompts = 12;
  lens.model = "tiny";
  lens.model_sha256 = std::string(64, 'a');
  lens.fit = "{}";
  uint64_t n = 0;
  for (int64_t l = 0; l < layers; ++l) {
    LensMap map{Tensor::empty({d, d}), kind == LensKind::kTuned ? Tensor::empty({d}) : Tensor()};
    for (int64_t i = 0; i < d * d; ++i) map.delta.f32()[i] = static_cast<float>(rng.normal(n++));
    for (int64_t i = 0; i < d && map.bias.defined(); ++i) map.bias.f32()[i] = static_cast<float>(rng.normal(n++));
    lens.layers.push_back(map);
  }
  return lens;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  double most = 0;
  for (int64_t i = 0; i < a.numel(); ++i) most = std::max(most, std::abs(static_cast<double>(a.f32()[i]) - b.f32()[i]));
  return most;
}

TEST(LensFiles, hold_what_was_saved) {
  TempFolder folder;
  for (const LensKind kind : {LensKind::kTuned, LensKind::kJacobian}) {
    FittedLens lens = random_lens(20, 3, kind);
    for (const LensStorage storage : {LensStorage::kF32, LensStorage::kInt8}) {
      save_lens(folder / "lens.safetensors", lens, storage);
      const FittedLens back = load_lens(folder / "lens.safetensors");
      EXPECT_EQ(back.kind, kind);
      EXPECT_EQ(back.n_prompts, 12);
      EXPECT_EQ(back.model, "tiny");
      EXPECT_EQ(back.model_sha256, lens.model_sha256);
      ASSERT_EQ(back.layers.size(), 3u);
      const FittedLens expected = storage == LensStorage::kF32 ? lens : rounded_to_int8(lens);
      for (int l = 0; l < 3; ++l) {
        EXPECT_EQ(largest_difference(back.layers[l].delta, expected.layers[l].delta), 0);
        EXPECT_LE(largest_difference(back.layers[l].delta, lens.layers[l].delta), storage == LensStorage::kF32 ? 0 : 5.0 / 254);
        EXPECT_EQ(back.layers[l].bias.defined(), kind == LensKind::kTuned);
      }
    }
  }
}

TEST(LensFiles, the_published_format_holds_a_jacobian_in_f16) {
  TempFolder folder;
  const FittedLens lens = random_lens(20, 3, LensKind::kJacobian);
  export_jacobian(folder / "lens.pt", lens);
  const FittedLens back = load_lens(folder / "lens.pt");
  EXPECT_EQ(back.kind, LensKind::kJacobian);
  EXPECT_EQ(back.n_prompts, 12);
  EXPECT_EQ(back.model, "tiny");
  EXPECT_EQ(back.model_sha256, lens.model_sha256);
  EXPECT_EQ(back.doubt("f"), "");
  ASSERT_EQ(back.layers.size(), 3u);
  for (int l = 0; l < 3; ++l) EXPECT_LE(largest_difference(back.layers[l].delta, lens.layers[l].delta), 5.0 / 2048);
  expect_error(ErrorKind::kInvalidArgument, "tuned",
               [&] { export_jacobian(folder / "no.pt", random_lens(20, 3, LensKind::kTuned)); });
  if (std::filesystem::exists("/dev/full"))
    expect_error(ErrorKind::kIo, "/dev/full", [&] { export_jacobian("/dev/full", lens); });
}

TEST(LensFiles, that_name_no_model_are_doubted_if_published_and_refused_if_ours) {
  TempFolder folder;
  FittedLens lens = random_lens(20, 3, LensKind::kJacobian);
  for (const char* hash : {"", "abc"}) {
    lens.model_sha256 = hash;
    save_lens(folder / "lens.safetensors", lens, LensStorage::kF32);
    expect_error(ErrorKind::kCorrupt, "model_sha256", [&] { load_lens(folder / "lens.safetensors"); });
  }
  export_jacobian(folder / "odd.pt", lens);
  expect_error(ErrorKind::kInvalidArgument, "model_sha256", [&] { load_lens(folder / "odd.pt"); });
  lens.model_sha256 = "";
  export_jacobian(folder / "lens.pt", lens);
  EXPECT_NE(load_lens(folder / "lens.pt").doubt("f").find("only its shapes"), std::string::npos);
}

TEST(LensFiles, of_another_model_are_refused) {
  const auto model = golden_model("llama_gqa_tied");
  FittedLens lens = random_lens(32, 2, LensKind::kJacobian);
  expect_error(ErrorKind::kInvalidArgument, "SHA-256", [&] { lens.check_fits(*model, "f"); });
  lens.model_sha256 = "";
  EXPECT_NO_THROW(lens.check_fits(*model, "f")) << "a file from elsewhere names no hash";
  lens.model_sha256 = model_sha256(*model);
  EXPECT_NO_THROW(lens.check_fits(*model, "f"));
  lens.model_sha256[0] = lens.model_sha256[0] == '0' ? '1' : '0';
  expect_error(ErrorKind::kInvalidArgument, "SHA-256", [&] { lens.check_fits(*model, "f"); });
  expect_error(ErrorKind::kInvalidArgument, "wide", [&] { random_lens(16, 2, LensKind::kJacobian).check_fits(*model, "f"); });
  expect_error(ErrorKind::kInvalidArgument, "layers", [&] { random_lens(32, 1, LensKind::kJacobian).check_fits(*model, "f"); });
  expect_error(ErrorKind::kInvalidArgument, "layers", [&] { random_lens(32, 2, LensKind::kTuned).check_fits(*model, "f"); });
}

TEST(LensFiles, cut_short_or_not_lenses_are_refused) {
  TempFolder folder;
  FittedLens lens = random_lens(6, 2, LensKind::kTuned);
  save_lens(folder / "lens.safetensors", lens, LensStorage::kInt8);
  const std::string good = content(folder / "lens.safetensors");
  for (size_t n = 0; n < good.size(); n += 7) {
    folder.write("cut", good.substr(0, n));
    EXPECT_THROW(load_lens(folder / "cut"), Error) << n;
  }
  write_safetensors(folder / "other", {});
  expect_error(ErrorKind::kInvalidArgument, "no lens", [&] { load_lens(folder / "other"); });
  lens.layers[1].bias.f32()[2] = std::numeric_limits<float>::infinity();
  save_lens(folder / "lens.safetensors", lens, LensStorage::kF32);
  expect_error(ErrorKind::kCorrupt, "not finite", [&] { load_lens(folder / "lens.safetensors"); });
}

}  // namespace
}  // namespace microtome
