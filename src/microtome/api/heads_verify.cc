#include "microtome/api/heads_verify.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "microtome/circuits/heads/inhibition.h"
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

Json refused(Detector d, const char* ablation, const Error& e) {
  return {{"layer", nullptr},
          {"head", nullptr},
          {"detector", heads::detector_info(d).name},
          {"task", task_of(d)},
          {"metric", nullptr},
          {"ablation", ablation},
          {"draws", 0},
          {"effect", nullptr},
          {"control_mean", nullptr},
          {"control_sd", nullptr},
          {"reason", e.what()}};
}

void add_rows(const heads::VerifyResult& r, const std::function<Json(const heads::Effect&)>& row, Json& out) {
  out.push_back(row(r.joint));
  for (const heads::Effect& e : r.single) out.push_back(row(e));
}

// Path patching of the heads into the movers' queries.
void add_paths(const Context& context, const VerifyRequest& request, const std::vector<algebra::HeadId>& candidates, Json& out) {
  const auto prompts =
      find_task("ioi").make({context.model->config(), context.model->tokenizer(), request.bos}, request.prompts, request.seed);
  const auto r =
      heads::verify_inhibition(*context.model, prompts, candidates, request.movers,
                               {.draws = request.draws, .seed = request.seed, .edits = request.edits}, context.progress);
  Json movers = Json::array();
  for (const algebra::HeadId& m : request.movers) movers.push_back({{"layer", m.layer}, {"head", m.head}});
  add_rows(
      r,
      [&](const heads::Effect& e) {
        Json row = row_of(e, Detector::kSInhibition, {.name = "ioi"}, r.base);
        row["metric"] = "attention";
        row["ablation"] = "path";
        row["movers"] = movers;
        return row;
      },
      out);
}

}  // namespace

Json verify_heads(const Context& context, const VerifyRequest& request) {
  Json out = Json::array();
  const auto attempt = [&](Detector d, const char* ablation, const std::function<void()>& work) {
    try {
      work();
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::kUnsupported) throw;
      out.push_back(refused(d, ablation, e));
    }
  };
  for (const auto& entry : request.candidates) {
    const Detector d = entry.first;
    const auto& candidates = entry.second;
    attempt(d, "mean", [&] {
      const heads::VerifyTask task = task_for(context, d, request);
      const auto r = heads::verify(*context.model, task, candidates,
                                   {.draws = request.draws, .seed = request.seed, .edits = request.edits}, context.progress);
      add_rows(
          r, [&](const heads::Effect& e) { return row_of(e, d, task, r.base); }, out);
    });
    if (d == Detector::kSInhibition) attempt(d, "path", [&] { add_paths(context, request, candidates, out); });
  }
  return out;
}

}  // namespace microtome::api
