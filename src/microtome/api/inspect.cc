#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/model/families/family.h"

namespace microtome::api {
namespace {

Json site_shape_json(const Site& site, const Config& c) {
  const SiteShape shape = site_shape(site.kind);
  if (shape == SiteShape::kPattern) return {"batch", c.n_heads, "query", "key"};
  Json out{"batch", "pos"};
  if (shape == SiteShape::kHeads || shape == SiteShape::kKvHeads || shape == SiteShape::kHeadStream ||
      shape == SiteShape::kKvHeadStream)
    out.push_back(site_heads(shape, c));
  out.push_back(site_width(shape, c));
  return out;
}

Json description(const Checkpoint& checkpoint, const Config& c, const std::string& name) {
  Json tensors = Json::array(), sites = Json::array();
  for (const CheckpointTensor& t : checkpoint.tensors())
    tensors.push_back({{"name", t.name}, {"shape", t.shape}, {"dtype", dtype_name(t.dtype)}, {"bytes", t.data.size()}});
  for (const Site& site : all_sites(c)) sites.push_back({{"name", site_name(site)}, {"shape", site_shape_json(site, c)}});
  return {{"model", name},
          {"config",
           {{"family", c.family},
            {"n_layers", c.n_layers},
            {"d_model", c.d_model},
            {"n_heads", c.n_heads},
            {"n_kv_heads", c.n_kv_heads},
            {"d_head", c.d_head},
            {"d_mlp", c.mlp ? Json(c.d_mlp) : Json()},
            {"vocab", c.vocab},
            {"context", c.context}}},
          {"tensors", tensors},
          {"sites", sites}};
}

}  // namespace

Json inspect(const Context& context) { return description(context.model->checkpoint(), context.model->config(), context.name); }

Json inspect_file(const std::filesystem::path& path, const std::string& name) {
  const Checkpoint checkpoint = open_checkpoint(path);
  const Config config = family_of(checkpoint).configure(checkpoint);
  validate(config);
  return description(checkpoint, config, name);
}

}  // namespace microtome::api
