#include "microtome/api/heads_verify.h"

#include <nlohmann/json.hpp>

#include "microtome/circuits/tasks/task.h"

namespace microtome::api {
namespace {

using heads::Detector;

const char* task_of(Detector d) {
  switch (d) {
    case Detector::kSuccessor: return "successor";
    case Detector::kNameMover:
    case Detector::kNegativeMover:
    case Detector::kCopySuppression:
    case Detector::kSInhibition: return "ioi";
    default: return "";
  }
}

heads::VerifyTask task_for(const Context& context, Detector d, const VerifyRequest& request) {
  const std::string name = task_of(d);
  if (!name.empty()) {
    const Task& task = find_task(name);
    heads::VerifyTask out{.name = name, .metric = Metric(task.metric)};
    for (TaskExample& e :
         task.make({context.model->config(), context.model->tokenizer(), request.bos}, request.prompts, request.seed))
      out.examples.push_back(std::move(e.example));
    return out;
  }
  heads::VerifyTask out{.name = request.texts[0].block > 0 ? "repeated" : "text", .metric = Metric(MetricKind::kLoss)};
  for (const heads::ProbeText& t : request.texts)
    out.examples.push_back({.clean = t.ids, .corrupted = t.ids, .loss_from = t.block > 0 ? t.second() : 0});
  return out;
}

Json row_of(const heads::Effect& e, Detector d, const heads::VerifyTask& task, double base) {
  Json row, names = Json::array();
  for (const algebra::HeadId& h : e.heads) names.push_back({{"layer", h.layer}, {"head", h.head}});
  const bool one = e.heads.size() == 1;
  row["layer"] = one ? Json(e.heads[0].layer) : Json();
  row["head"] = one ? Json(e.heads[0].head) : Json();
  row["heads"] = std::move(names);
  row["detector"] = heads::detector_info(d).name;
  row["task"] = task.name;
  row["metric"] = metric_name(task.metric.kind());
  row["ablation"] = "mean";
  row["base"] = base;
  row["draws"] = e.draws;
  row["effect"] = e.effect;
  row["control_mean"] = e.draws > 0 ? Json(e.control_mean) : Json();
  row["control_sd"] = e.draws > 1 ? Json(e.control_sd) : Json();
  return row;
}

}  // namespace

Json verify_heads(const Context& context, const VerifyRequest& request) {
  Json out = Json::array();
  for (const auto& [d, candidates] : request.candidates) {
    try {
      const heads::VerifyTask task = task_for(context, d, request);
      const auto r = heads::verify(*context.model, task, candidates,
                                   {.draws = request.draws, .seed = request.seed, .edits = request.edits}, context.progress);
      out.push_back(row_of(r.joint, d, task, r.base));
      for (const heads::Effect& e : r.single) out.push_back(row_of(e, d, task, r.base));
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::kUnsupported) throw;
      out.push_back({{"layer", nullptr},
                     {"head", nullptr},
                     {"detector", heads::detector_info(d).name},
                     {"task", task_of(d)},
                     {"metric", nullptr},
                     {"ablation", "mean"},
                     {"draws", 0},
                     {"effect", nullptr},
                     {"control_mean", nullptr},
                     {"control_sd", nullptr},
                     {"reason", e.what()}});
    }
  }
  return out;
}

}  // namespace microtome::api
