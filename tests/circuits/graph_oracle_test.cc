#include <nlohmann/json.hpp>

#include "graph_support.h"
#include "microtome/base/file.h"
#include "microtome/circuits/graph/edge_scores.h"

namespace microtome {
namespace {

using namespace graph_support;

// Scores by autograd on a transparent PyTorch model in double (tests/golden/circuits/make_eap.py).
TEST(EdgeScores, agree_with_pytorch_edge_by_edge) {
  const auto file = std::filesystem::path(MICROTOME_TEST_DATA) / "golden/circuits/eap.json";
  const Json golden = parse_json(read_file(file), file.string());
  ASSERT_EQ(golden.size(), 4u);
  for (const auto& [name, g] : golden.items()) {
    const auto model = golden_model(name);
    const Graph graph(model->config());
    const std::vector<Example> examples{{.clean = g["clean"].get<std::vector<int32_t>>(),
                                         .corrupted = g["corrupted"].get<std::vector<int32_t>>(),
                                         .answers = {g["answer"].get<int32_t>()},
                                         .wrong = {g["wrong"].get<int32_t>()}}};
    for (const char* method : {"eap", "eap-ig"}) {
      const EdgeScores s =
          score_edges(*model, graph, examples, Metric(MetricKind::kLogitDiff), {.method = parse_edge_method(method), .steps = 5});
      ASSERT_EQ(std::ssize(g[method]), graph.n_edges()) << name;
      for (const auto& [edge, score] : g[method].items()) {
        const size_t arrow = edge.find("->");
        const int64_t e = graph.find_edge(edge.substr(0, arrow), edge.substr(arrow + 2));
        ASSERT_GE(e, 0) << edge;
        EXPECT_NEAR(s.mean[e], score.get<double>(), 2e-5) << name << " " << method << " " << edge;
      }
      EXPECT_NEAR(s.clean[0], g["clean_metric"].get<double>(), 1e-5);
      EXPECT_NEAR(s.ablated[0], g["corrupted_metric"].get<double>(), 1e-5);
      if (method == std::string("eap-ig")) EXPECT_NEAR(s.gap[0], g["gap"].get<double>(), 1e-4) << name;
    }
  }
}

}  // namespace
}  // namespace microtome
