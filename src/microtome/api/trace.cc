#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/formats/npz.h"
#include "microtome/model/capture.h"
#include "microtome/model/loss.h"

namespace microtome::api {
namespace {

std::vector<Site> wanted_sites(const std::vector<std::string>& patterns, const Config& config) {
  std::vector<Site> out;
  for (const std::string& pattern : patterns)
    for (const Site& site : match_sites(pattern, config))
      if (std::find(out.begin(), out.end(), site) == out.end()) out.push_back(site);
  return out;
}

NamedArray token_array(const std::vector<std::vector<int32_t>>& prompts) {
  size_t longest = 0;
  for (const auto& p : prompts) longest = std::max(longest, p.size());
  Tensor t = Tensor::zeros({std::ssize(prompts), static_cast<int64_t>(longest)}, Arena::global(), DType::kI32);
  for (size_t i = 0; i < prompts.size(); ++i) std::copy(prompts[i].begin(), prompts[i].end(), t.i32() + i * longest);
  return {"tokens", t, {}};
}

NamedArray length_array(const std::vector<std::vector<int32_t>>& prompts) {
  Tensor t = Tensor::empty({std::ssize(prompts)}, Arena::global(), DType::kI32);
  for (size_t i = 0; i < prompts.size(); ++i) t.i32()[i] = static_cast<int32_t>(prompts[i].size());
  return {"lengths", t, {}};
}

// Gradients of the parameters, gathered into the checkpoint's own tensors.
void add_parameter_gradients(const Model& model, const Tape& tape, const ParameterLeaves& leaves, std::vector<NamedArray>& out) {
  std::map<std::string, Tensor> tensors;
  Weights weights = model.weights();
  const auto scatter = [&](const Slot& slot, int64_t k, int64_t n, const Tensor& gradient) {
    Tensor& t = tensors[slot.tensor];
    if (!t.defined()) t = Tensor::zeros(slot.shape);
    if (gradient.defined()) scatter_gradient(slot, k, n, gradient.f32(), t.f32());
  };
  for (const Matrix* m : weights.matrices())
    if (m != &weights.unembed || m->id != weights.embed.id) scatter(m->slot, m->view.k, m->view.n, tape.gradient(leaves.of(*m)));
  for (const Vector* v : weights.vectors()) scatter(v->slot, 1, v->data.numel(), tape.gradient(leaves.of(*v)));
  for (const CheckpointTensor& t : model.checkpoint().tensors())
    if (const auto it = tensors.find(t.name); it != tensors.end()) out.push_back({"pgrad." + t.name, it->second, {}});
}

}  // namespace

TraceOptions trace_options(const Json& request) {
  Fields f(request);
  TraceOptions o;
  o.input = f.input();
  o.edits = f.edits();
  o.sites = f.texts("sites");
  o.grad = f.boolean("grad").value_or(false);
  o.param_grad = f.boolean("param-grad").value_or(false);
  f.finish();
  return o;
}

std::vector<NamedArray> trace(const Context& context, const TraceOptions& options) {
  const Model& model = *context.model;
  const std::vector<Site> sites = wanted_sites(options.sites, model.config());
  if (sites.empty() && !options.grad && !options.param_grad)
    throw FieldError("sites", "no sites: name some, as in blocks.*.hook_resid_post (`microtome inspect` lists them)");
  const auto prompts = encode_input(context, options.input);
  Plan plan;
  add_edits(context, options.edits, options.input, plan, longest_of(prompts));
  Capture capture(std::ssize(prompts));
  for (const Site& site : sites) {
    capture.read(plan, site);
    if (options.grad) capture.gradient(plan, site);
  }
  Batch batch;
  for (const auto& ids : prompts) batch.add_sequence(ids);

  const bool with_loss = options.grad || options.param_grad;
  plan.logit_rows = with_loss ? LogitRows::kAll : LogitRows::kNone;
  Tape tape(model.context());
  std::optional<ParameterLeaves> leaves;
  if (options.param_grad) leaves.emplace(model, tape);
  const Forward result = forward(model, {.batch = batch,
                                         .plan = &plan,
                                         .tape = with_loss ? &tape : nullptr,
                                         .parameters = leaves ? &*leaves : nullptr,
                                         .progress = context.progress});
  std::vector<NamedArray> out{token_array(prompts)};
  if (std::any_of(prompts.begin(), prompts.end(), [&](const auto& p) { return p.size() != prompts[0].size(); }))
    out.push_back(length_array(prompts));
  if (with_loss) out.push_back({"loss", {}, next_token_loss(model, batch, result, &tape)});
  for (const Site& site : capture.sites()) out.push_back({site_name(site), capture.array(site), {}});
  if (options.grad)
    for (const Site& site : sites) {
      const auto have = capture.gradient_sites();
      const bool found = std::find(have.begin(), have.end(), site) != have.end();
      // A site that the loss does not depend on.
      out.push_back(
          {"grad." + site_name(site), found ? capture.gradient_array(site) : Tensor::zeros(capture.array(site).shape()), {}});
    }
  if (options.param_grad) add_parameter_gradients(model, tape, *leaves, out);
  return out;
}

namespace {

void fill(NpzWriter& npz, const std::vector<NamedArray>& arrays) {
  for (const NamedArray& a : arrays) {
    if (a.f64) {
      npz.add(a.name, DType::kF64, {}, std::as_bytes(std::span(&*a.f64, 1)));
    } else if (a.data.dtype() == DType::kI32) {
      npz.add(a.name, DType::kI32, a.data.shape(), std::as_bytes(std::span(a.data.i32(), a.data.numel())));
    } else {
      npz.add(a.name, DType::kF32, a.data.shape(), std::as_bytes(std::span(a.data.f32(), a.data.numel())));
    }
  }
}

}  // namespace

void write_arrays(const std::filesystem::path& path, const std::vector<NamedArray>& arrays) {
  write_npz(path, {}, [&](NpzWriter& npz) { fill(npz, arrays); });
}

void write_arrays(std::ostream& out, const std::vector<NamedArray>& arrays) {
  NpzWriter npz(out);
  fill(npz, arrays);
  npz.finish();
}

}  // namespace microtome::api
