#include "microtome/lens/jacobian_trainer.h"

#include <cmath>

#include "microtome/base/error.h"

namespace microtome {

JacobianTrainer::JacobianTrainer(const Model& model, TokenCursor cursor, const JacobianOptions& options, Json identity)
    : model_(model), cursor_(std::move(cursor)), options_(options), identity_(std::move(identity)), sum_(model.config()) {}

Json JacobianTrainer::step(int64_t number, Progress* progress) {
  cursor_.seek(number);
  sum_.add(model_, cursor_.next(), options_, progress);
  // How far the mean has moved off the identity: it settles as prompts are added.
  Json norms = Json::array();
  for (int64_t l = 0; l < sum_.layers(); ++l) {
    double norm = 0;
    const int64_t d = model_.config().d_model;
    for (int64_t i = 0; i < d * d; ++i) {
      const double x = sum_.sum(l)[i] / static_cast<double>(sum_.prompts()) - (i % (d + 1) == 0 ? 1 : 0);
      norm += x * x;
    }
    norms.push_back(std::sqrt(norm / static_cast<double>(d)));
  }
  return {{"step", number + 1}, {"prompts", sum_.prompts()}, {"distance_from_identity", std::move(norms)}};
}

Json JacobianTrainer::options() const {
  Json out = identity_;
  out["kind"] = "jacobian";
  out["skip"] = options_.skip;
  if (options_.bf16) out["backward"] = "bf16";
  return out;
}

void JacobianTrainer::save(StateWriter& out) const {
  for (int64_t l = 0; l < sum_.layers(); ++l) out.add("jacobian_sum." + std::to_string(l), std::span(sum_.sum(l)));
  out.values["n_done"] = sum_.prompts();
}

void JacobianTrainer::load(const StateReader& in, int64_t steps) {
  for (int64_t l = 0; l < sum_.layers(); ++l) in.read("jacobian_sum." + std::to_string(l), std::span(sum_.sum(l)));
  const int64_t prompts = in.count("n_done");
  if (prompts != steps) in.corrupt(fmt::format("holds {} prompts after {} steps, expected as many", prompts, steps));
  sum_.set_prompts(prompts);
}

}  // namespace microtome
