// A small model of the llama family, written in code: random weights, in which facts are planted.
//
//   NeuronsModel m({.scale = 0.02f});
//   m.plant_fact(1, 5, subject, answer);
//   auto model = m.load();
//
// One token's embedding is a unit vector of its own, plus a constant; answers are read from dimensions of their own, and from one
// that all of them share.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "checkpoint_support.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/neurons/fact.h"
#include "microtome/model/model.h"

namespace microtome {

class NeuronsModel {
 public:
  static constexpr int kWidth = 64, kMlp = 64, kVocab = 40, kLayers = 2, kHeads = 4;
  static constexpr int kSubjects = 10, kAnswers = 20, kFacts = 8;  // subjects are tokens 10 .., answers 20 ..
  static constexpr int kConstant = 63, kEveryAnswerDim = 62, kAnswerDim = 40;

  // Random weights of the given standard deviation; `structured`: embeddings as above, else random too.
  explicit NeuronsModel(uint64_t seed = 0, float scale = 0.02f, bool structured = true)
      : rng_(seed, "neurons model"), scale_(scale) {
    random("model.embed_tokens.weight", kVocab, kWidth);
    random("lm_head.weight", kVocab, kWidth);
    ones("model.norm.weight");
    for (int l = 0; l < kLayers; ++l) {
      const std::string p = fmt::format("model.layers.{}.", l);
      ones(p + "input_layernorm.weight");
      ones(p + "post_attention_layernorm.weight");
      for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
        random(p + "self_attn." + name + ".weight", kWidth, kWidth);
      random(p + "mlp.gate_proj.weight", kMlp, kWidth);
      random(p + "mlp.up_proj.weight", kMlp, kWidth);
      random(p + "mlp.down_proj.weight", kWidth, kMlp);
    }
    if (!structured) return;
    for (int t = 0; t < kVocab; ++t) {
      at("model.embed_tokens.weight", t, t) += 1;
      at("model.embed_tokens.weight", t, kConstant) += 1;
    }
    for (int f = 0; f < kFacts; ++f) {
      at("lm_head.weight", kAnswers + f, kAnswerDim + f) += 1;
      at("lm_head.weight", kAnswers + f, kEveryAnswerDim) += 1;
    }
  }

  // Row-major element of a matrix.
  float& at(const std::string& tensor, int row, int column) {
    auto& [shape, values] = tensors_.at(tensor);
    return values[row * shape[1] + column];
  }
  float& value(int layer, int neuron, int dimension) {
    return at(fmt::format("model.layers.{}.mlp.down_proj.weight", layer), dimension, neuron);
  }

  // A neuron that fires at the subject and writes the answer of fact f. `sign` -1: its activation is negative, and so is v.
  void plant_fact(int layer, int neuron, int f, float strength = 1, int sign = 1) {
    const std::string p = fmt::format("model.layers.{}.mlp.", layer);
    at(p + "gate_proj.weight", neuron, kSubjects + f) = 2;
    at(p + "gate_proj.weight", neuron, kConstant) = -1;
    at(p + "up_proj.weight", neuron, kConstant) = 0.2f * static_cast<float>(sign);
    value(layer, neuron, kAnswerDim + f) = strength * static_cast<float>(sign);
  }

  // A neuron that always fires and makes every answer likelier.
  void plant_hub(int layer, int neuron, float strength) {
    const std::string p = fmt::format("model.layers.{}.mlp.", layer);
    at(p + "gate_proj.weight", neuron, kConstant) = 1;
    at(p + "up_proj.weight", neuron, kConstant) = 0.2f;
    value(layer, neuron, kEveryAnswerDim) = strength;
  }

  std::shared_ptr<const Model> load() const {
    const Json config{{"model_type", "llama"},         {"num_hidden_layers", kLayers}, {"hidden_size", kWidth},
                      {"num_attention_heads", kHeads}, {"intermediate_size", kMlp},    {"vocab_size", kVocab},
                      {"max_position_embeddings", 64}, {"hidden_act", "silu"}};
    return load_checkpoint(config, tensors_);
  }

  // Fact f of `relation`: `prompts` prompts and two held out, each some other tokens and then the subject.
  static Fact fact(int f, const std::string& relation, int prompts = 4, int new_answer = -1) {
    Fact fact{.id = fmt::format("fact{}", f), .relation = relation, .answer = fmt::format("{}", kAnswers + f)};
    for (int i = 0; i < prompts + 2; ++i) {
      FactPrompt p{.ids = {0, i % 10, (i * 3 + 1) % 10, kSubjects + f}, .answer = {kAnswers + f}};
      if (new_answer >= 0) p.new_answer = {kAnswers + new_answer};
      if (i % 2) p.ids.insert(p.ids.begin() + 1, 7);
      (i < prompts ? fact.prompts : fact.heldout).push_back(p);
    }
    return fact;
  }

 private:
  void random(const std::string& name, int rows, int columns) {
    auto& [shape, values] = tensors_[name];
    shape = {rows, columns};
    values.resize(rows * columns);
    for (float& x : values) x = scale_ * static_cast<float>(rng_.normal(drawn_++));
  }
  void ones(const std::string& name) { tensors_[name] = {{kWidth}, std::vector<float>(kWidth, 1.0f)}; }

  Philox rng_;
  float scale_;
  uint64_t drawn_ = 0;
  CheckpointValues tensors_;
};

}  // namespace microtome
