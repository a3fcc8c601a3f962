// heads: the edits of a request change what is scored.
#include "microtome/api/heads.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

namespace microtome::api {
namespace {

namespace fs = std::filesystem;

Context tiny() { return {Model::load(fs::path(MICROTOME_TEST_DATA) / "golden/models/llama_gqa_tied"), "tiny"}; }

Json request(Json more) {
  Json r{{"tokens", {1, 2, 3, 4, 5, 1, 2, 3, 4, 5}}, {"detectors", {"previous", "induction"}}};
  r.update(more);
  return r;
}

TEST(HeadsRequest, edits_change_the_scores_of_the_heads_they_name) {
  const Context context = tiny();
  const int64_t n = context.model->config().n_heads;
  const Json edit{{"site", "blocks.1.attn.hook_q"}, {"op", "zero"}, {"head", 1}};
  const Json plain = heads(context, heads_options(request(Json::object()))),
             edited = heads(context, heads_options(request({{"edits", Json::array({edit})}})));
  // Without a query a head attends to all it sees alike.
  for (const char* d : {"previous", "induction"}) {
    const double uniform = edited["controls"][d]["uniform"];
    EXPECT_NEAR(edited["heads"][n + 1]["scores"][d].get<double>(), uniform, 1e-6);
    EXPECT_GT(std::abs(plain["heads"][n + 1]["scores"][d].get<double>() - uniform), 1e-6);
    for (int64_t h = 0; h <= n; ++h) EXPECT_EQ(edited["heads"][h]["scores"][d], plain["heads"][h]["scores"][d]) << h;
  }
}

TEST(HeadsRequest, labels_take_each_detectors_own_threshold) {
  const Json edit{{"site", "blocks.*.attn.hook_q"}, {"op", "zero"}};
  // Equal attention over two tokens: previous .5, sink .75.
  const Json r = heads(
      tiny(),
      heads_options(
          {{"tokens", {1, 2}}, {"detectors", {"previous", "sink"}}, {"measure", "stripe"}, {"edits", Json::array({edit})}}));
  EXPECT_EQ(r["labels"].size(), r["heads"].size());
  for (const Json& l : r["labels"]) {
    EXPECT_EQ(l["detector"], "previous");
    EXPECT_EQ(l["threshold"], 0.4);
    EXPECT_NEAR(l["score"].get<double>(), 0.5, 1e-6);
  }
  EXPECT_NEAR(r["heads"][0]["scores"]["sink"].get<double>(), 0.75, 1e-6);
}

TEST(HeadsRequest, means_cannot_be_verified_and_patterns_not_edited) {
  const Context context = tiny();
  const Json mean{{"site", "blocks.0.hook_attn_out"}, {"op", "mean"}};
  EXPECT_NO_THROW(heads(context, heads_options(request({{"edits", Json::array({mean})}}))));
  EXPECT_THROW(heads(context, heads_options(request({{"edits", Json::array({mean})}, {"verify", true}}))), FieldError);
  const Json pattern = Json::array({Json::array({Json::array({1})})});
  EXPECT_THROW(heads(context, heads_options({{"tokens", {1}}, {"patterns", pattern}, {"edits", Json::array({mean})}})),
               FieldError);
}

}  // namespace
}  // namespace microtome::api
