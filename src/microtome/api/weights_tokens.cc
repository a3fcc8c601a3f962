// Verbs of `weights` about tokens: pairs, skip-trigrams, bigrams.
#include <nlohmann/json.hpp>

#include "microtome/api/weights_verbs.h"
#include "microtome/circuits/algebra/token_tables.h"

namespace microtome::api {
namespace {

using namespace algebra;  // NOLINT(google-build-using-namespace): this file is about nothing else

std::vector<int32_t> source_ids(const Context& c, const WeightsOptions& o) {
  std::vector<int32_t> out;
  for (const std::string& text : o.sources) out.push_back(find_token(*c.model, text));
  return out;
}

// Reads one head after the other: the weights of all of them need not be in memory.
std::vector<HeadId> heads_or_all(const Config& c, const WeightsOptions& o) {
  std::vector<HeadId> out = o.heads;
  if (out.empty())
    for (int l = 0; l < c.n_layers; ++l)
      for (int h = 0; h < c.n_heads; ++h) out.push_back({l, h});
  return out;
}

template <class Fn>
void each_head(const Context& c, const WeightsOptions& o, Fn&& fn) {
  const std::vector<HeadId> ids = heads_or_all(c.model->config(), o);
  if (c.progress) c.progress->begin(o.verb, static_cast<double>(ids.size()));
  for (const HeadId& id : ids) {
    const HeadId one[] = {id};
    fn(read_heads(*c.model, one, o.offset)[0]);
    if (c.progress) c.progress->step();
  }
}

}  // namespace

Json pair_rows(const Context& c, const WeightsOptions& o) {
  const bool ov = o.circuit == "ov";
  if (ov && o.offset > 0) throw FieldError("offset", "offset belongs to the QK circuit; give circuit qk");
  const std::vector<int32_t> sources = source_ids(c, o);
  const Vocabulary vocabulary(*c.model, o.embedding, c.progress);
  Json rows = Json::array();
  each_head(c, o, [&](const HeadWeights& h) {
    const TokenTable table = ov ? ov_table(h, vocabulary) : qk_table(h, vocabulary, false);
    const int64_t n = rows_wanted(o, table.rows() * table.cols(), 20);
    for (const TokenPair& p : top_pairs(table, std::min<int64_t>(n, 1000000), sources)) {
      if (c.progress) c.progress->check();
      Json row{{"layer", h.id.layer}, {"head", h.id.head}, {"score", p.value}, {"circuit", o.circuit}};
      row["source"] = token_json(*c.model, p.row);
      row["via"] = ov ? Json() : token_json(*c.model, p.column);
      row["target"] = ov ? token_json(*c.model, p.column) : Json();
      rows.push_back(std::move(row));
    }
  });
  return {{"rows", std::move(rows)}};
}

Json skip_trigram_rows(const Context& c, const WeightsOptions& o) {
  const Vocabulary vocabulary(*c.model, o.embedding, c.progress);
  Json rows = Json::array();
  each_head(c, o, [&](const HeadWeights& h) {
    const int64_t all = o.per_source * o.per_source * vocabulary.size();
    for (const SkipTrigram& t : skip_trigrams(h, vocabulary, {.per_source = o.per_source, .top = rows_wanted(o, all, 20)})) {
      Json row{{"layer", h.id.layer}, {"head", h.id.head}, {"score", t.score}, {"qk", t.qk}, {"ov", t.ov}};
      row["source"] = token_json(*c.model, t.source);
      row["via"] = token_json(*c.model, t.destination);
      row["target"] = token_json(*c.model, t.output);
      row["bug"] = t.forced;
      if (t.forced)
        row["forced_by"] = {{{"via", token_json(*c.model, t.destination)}, {"target", token_json(*c.model, t.forced_output)}},
                            {{"via", token_json(*c.model, t.forced_destination)}, {"target", token_json(*c.model, t.output)}}};
      rows.push_back(std::move(row));
    }
  });
  return {{"rows", std::move(rows)}};
}

Json bigram_rows(const Context& c, const WeightsOptions& o) {
  const std::vector<int32_t> sources = source_ids(c, o);
  const Vocabulary vocabulary(*c.model, o.embedding, c.progress);
  const int64_t v = vocabulary.size(), all = (sources.empty() ? v : std::ssize(sources)) * v;
  const BigramOptions options{sources, o.per_source, std::min<int64_t>(rows_wanted(o, all, 50), 1000000)};
  Json rows = Json::array();
  for (const Bigram& b : bigrams(vocabulary, options, c.progress))
    rows.push_back({{"layer", nullptr},
                    {"head", nullptr},
                    {"score", b.logprob},
                    {"source", token_json(*c.model, b.source)},
                    {"target", token_json(*c.model, b.target)},
                    {"logprob", b.logprob}});
  return {{"rows", std::move(rows)}};
}

}  // namespace microtome::api
