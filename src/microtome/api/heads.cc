#include "microtome/api/heads.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "microtome/api/heads_texts.h"
#include "microtome/api/heads_verify.h"
#include "microtome/circuits/algebra/spectra.h"
#include "microtome/circuits/algebra/vocabulary.h"
#include "microtome/circuits/heads/in_context.h"
#include "microtome/circuits/heads/movers.h"
#include "microtome/circuits/heads/pattern_check.h"
#include "microtome/circuits/heads/suppression.h"
#include "microtome/circuits/heads/token_maps.h"
#include "microtome/circuits/tasks/task.h"

namespace microtome::api {
namespace {

using heads::AttentionRow;
using heads::Detector;
using heads::Measure;
using heads::ProbeText;

constexpr size_t kStrongestMovers = 3;
constexpr int kRandomCopying = 100;
constexpr double kCopyScoreForLabel = 0.5;
constexpr double kLeastAccuracy = 0.75;  // half the way from chance to 1

// One command's work, step by step; each detector leaves scores and controls behind.
class HeadsRun {
 public:
  HeadsRun(const Context& context, const HeadsOptions& options)
      : context_(context), o_(options), input_(head_texts(context, options)) {
    score_.edits = &input_.edits;
    for (const std::string& name : o_.detectors) wanted_.push_back(heads::parse_detector(name));
    if (wanted_.empty()) {
      for (int d = 0; d < heads::kAttentionDetectors; ++d) wanted_.push_back(static_cast<Detector>(d));
      if (!o_.patterns) wanted_.push_back(Detector::kCopying);
    }
    std::sort(wanted_.begin(), wanted_.end());
    wanted_.erase(std::unique(wanted_.begin(), wanted_.end()), wanted_.end());
  }

  Json run() {
    const auto begin = std::chrono::steady_clock::now();
    if (o_.patterns) from_patterns();
    else from_model();
    Json result{{"model", context_.name}, {"text", texts_json(input_, o_)}};
    result["measure"] = heads::measure_name(heads::measure_of(texts_[0], score_));
    result["heads"] = heads_json();
    result["labels"] = labels_json();
    result["icl"] = icl_;
    if (!loss_.is_null()) result["loss"] = loss_;
    result["prefix_matching"] = prefix_;
    result["controls"] = controls_;
    result["verified"] = Json::array();
    if (o_.verify) result["verified"] = verify_heads(context_, verify_requests());
    result["warnings"] = warnings_;
    result["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return result;
  }

 private:
  const Model& model() const { return *context_.model; }
  bool wants(Detector d) const { return std::find(wanted_.begin(), wanted_.end(), d) != wanted_.end(); }
  bool wants_attention() const { return heads::from_attention(wanted_.front()); }
  int64_t n_heads() const { return model().config().n_heads; }

  // --- scores --------------------------------------------------------------------------------------------------------------

  // Duplicate and induction have no stripe in a text that does not repeat: fine, where they are not asked for.
  bool lenient() const { return !wants(Detector::kDuplicate) && !wants(Detector::kInduction); }

  void from_patterns() {
    const Tensor& p = *o_.patterns;
    if (texts_.size() != 1) throw FieldError("patterns", "patterns belong to one text; give one");
    const int64_t t = texts_[0].length();
    if (p.rank() != 3 || p.size(1) != t || p.size(2) != t)
      throw FieldError("patterns", fmt::format("patterns of shape {}, expected [heads, {}, {}] for a text of {} tokens",
                                               to_string(p.shape()), t, t, t));
    for (const Detector d : wanted_)
      if (!heads::from_attention(d))
        throw FieldError("detectors", fmt::format("detector {} needs the model; from patterns there are previous, current, "
                                                  "duplicate, induction and sink",
                                                  heads::detector_info(d).name));
    if (o_.verify) throw FieldError("verify", "patterns from elsewhere cannot be verified: nothing runs");
    heads::check_pattern(p);
    set_attention(heads::attention_scores(p, texts_[0], score_, lenient()));
    add_uniform();
  }

  void from_model() {
    if (wants_attention()) attention();
    losses();
    if (wants(Detector::kInduction) || wants(Detector::kCopying)) olsson();
    if (wants(Detector::kCopying)) copying();
    if (wants(Detector::kNameMover) || wants(Detector::kNegativeMover) || wants(Detector::kSInhibition)) movers();
    if (wants(Detector::kSuccessor)) {
      const auto s = heads::successor_scores(model(), o_.seed);
      set(Detector::kSuccessor, s.scores, s.control, "the same words in a random order");
      controls_["successor"]["classes"] = s.classes;
    }
    if (wants(Detector::kCopySuppression)) {
      const auto s = heads::suppression_scores(model(), {.tokens = o_.tokens, .seed = o_.seed}, context_.progress);
      set(Detector::kCopySuppression, s.scores, {}, "");
      add_control(Detector::kCopySuppression, s.control, "heads with random weights");
      controls_["copy_suppression"]["tokens"] = s.tokens;
      std::vector<algebra::HeadId> top;
      for (const size_t i : ranked(s.scores))
        if (std::ssize(top) < o_.top) top.push_back(head_at(i));
      cspa_ = heads::suppression_explained(model(), texts_, top, {.edits = &input_.edits}, context_.progress);
    }
  }

  void attention() {
    const auto result = heads::attention_scores(model(), texts_, score_, context_.progress, o_.entropy, lenient());
    std::vector<ProbeText> controls;
    for (const ProbeText& t : texts_) controls.push_back(heads::control_text(model(), t, o_.seed));
    const auto control = heads::attention_scores(model(), controls, score_, context_.progress, false, lenient());
    set_attention(result.mean);
    entropy_ = result.entropy;
    for (const Detector d : wanted_)
      if (heads::from_attention(d)) {
        std::vector<double> values;
        for (const AttentionRow& row : control.mean) values.push_back(row[static_cast<size_t>(d)]);
        set_control(d, values,
                    texts_[0].block ? "random tokens that do not repeat, the same places" : "the tokens in a random order");
      }
    if (wants(Detector::kSink)) sink_share_ = result.sink_share;
    add_uniform();
  }

  void set_attention(const std::vector<AttentionRow>& rows) {
    for (const Detector d : wanted_)
      if (heads::from_attention(d))
        for (const AttentionRow& row : rows) scores_[d].push_back(row[static_cast<size_t>(d)]);
  }

  void add_uniform() {
    AttentionRow mean{};
    for (const ProbeText& t : texts_) {
      const AttentionRow row = heads::uniform_scores(t, score_, lenient());
      for (size_t d = 0; d < row.size(); ++d) mean[d] += row[d] / static_cast<double>(texts_.size());
    }
    for (const Detector d : wanted_)
      if (heads::from_attention(d)) controls_[name(d)]["uniform"] = mean[static_cast<size_t>(d)];
  }

  void losses() {
    std::vector<std::vector<double>> all;
    for (const ProbeText& t : texts_) all.push_back(heads::token_losses(model(), t.ids, context_.progress, &input_.edits));
    if (const auto icl = heads::icl_score(all)) icl_ = *icl;
    if (texts_[0].block == 0) return;
    double first = 0, second = 0, n_first = 0, n_second = 0;
    for (size_t i = 0; i < all.size(); ++i)
      for (size_t p = 0; p < all[i].size(); ++p) {
        // Token p + 1 is predicted; that which begins the second block is known to nobody.
        const auto at = static_cast<int64_t>(p) + 1;
        if (at < texts_[i].second()) first += all[i][p], ++n_first;
        else if (at > texts_[i].second()) second += all[i][p], ++n_second;
      }
    loss_ = {{"first", n_first > 0 ? Json(first / n_first) : Json()},
             {"repeated", n_second > 0 ? Json(second / n_second) : Json()}};
  }

  void olsson() {
    const auto matching = heads::prefix_matching(model(), {.seed = o_.seed, .edits = &input_.edits}, context_.progress);
    const auto copying = heads::attended_copying(model(), {.seed = o_.seed, .edits = &input_.edits}, context_.progress);
    for (size_t i = 0; i < matching.size(); ++i)
      prefix_.push_back({{"layer", i / n_heads()}, {"head", i % n_heads()}, {"score", matching[i]}, {"copying", copying[i]}});
    std::stable_sort(prefix_.begin(), prefix_.end(),
                     [](const Json& a, const Json& b) { return a["score"].get<double>() > b["score"].get<double>(); });
  }

  void copying() {
    const algebra::Vocabulary vocabulary(model(), algebra::EmbeddingKind::kToken, context_.progress);
    const MatrixF64 gram = vocabulary.gram_copying();
    std::vector<double> values, random;
    for (const auto& s : algebra::copying(algebra::read_heads(model()), gram, context_.progress)) values.push_back(s.score);
    std::vector<algebra::HeadWeights> others;
    for (int i = 0; i < kRandomCopying; ++i)
      others.push_back(algebra::random_head(model().config().d_model, model().config().d_head, o_.seed, i));
    for (const auto& s : algebra::copying(others, gram)) random.push_back(s.score);
    scores_[Detector::kCopying] = values;
    add_control(Detector::kCopying, random, "heads with random weights");
  }

  void movers() {
    const Task& task = find_task("ioi");
    const auto prompts = task.make({model().config(), model().tokenizer(), o_.bos}, o_.prompts, o_.seed);
    const bool copies = wants(Detector::kNameMover) || wants(Detector::kNegativeMover);
    movers_ = heads::mover_scores(model(), prompts, copies, context_.progress, &input_.edits);
    if (movers_->accuracy < kLeastAccuracy)
      warnings_.push_back(
          fmt::format("the model is right on {:.0f} % of the ioi prompts only: what its heads do there explains little",
                      100 * movers_->accuracy));
    if (wants(Detector::kNameMover))
      set(Detector::kNameMover, movers_->name_mover, movers_->name_mover_control, "S1 in place of IO");
    if (wants(Detector::kNegativeMover))
      set(Detector::kNegativeMover, movers_->negative_mover, movers_->negative_mover_control, "S1 in place of IO");
    if (wants(Detector::kSInhibition))
      set(Detector::kSInhibition, movers_->s_inhibition, movers_->s_inhibition_control, "the third of three different names");
  }

  // --- what detectors leave behind -----------------------------------------------------------------------------------------

  static std::string name(Detector d) { return std::string(heads::detector_info(d).name); }

  void set(Detector d, const std::vector<double>& scores, const std::vector<double>& control, const std::string& what) {
    scores_[d] = scores;
    if (!control.empty()) set_control(d, control, what);
  }
  // A control for each head.
  void set_control(Detector d, const std::vector<double>& values, const std::string& what) {
    head_controls_[d] = values;
    add_control(d, values, what);
  }
  void add_control(Detector d, const std::vector<double>& values, const std::string& what) {
    double mean = 0, squares = 0;
    for (const double v : values) mean += v / static_cast<double>(values.size());
    for (const double v : values) squares += (v - mean) * (v - mean);
    Json& c = controls_[name(d)];
    c["what"] = what;
    c["mean"] = mean;
    c["sd"] = values.size() > 1 ? std::sqrt(squares / static_cast<double>(values.size() - 1)) : 0.0;
    c["max"] = *std::max_element(values.begin(), values.end());
  }

  algebra::HeadId head_at(size_t i) const { return {static_cast<int>(i / n_heads()), static_cast<int>(i % n_heads())}; }
  Json place(size_t i) const {
    if (o_.patterns) return {{"layer", nullptr}, {"head", i}};
    return {{"layer", i / n_heads()}, {"head", i % n_heads()}};
  }

  Json heads_json() const {
    Json out = Json::array();
    const size_t n = scores_.begin()->second.size();
    for (size_t i = 0; i < n; ++i) {
      Json h = place(i), details = Json::object();
      h["scores"] = Json::object();
      for (const auto& [d, values] : scores_) h["scores"][name(d)] = values[i];
      h["controls"] = Json::object();
      for (const auto& [d, values] : head_controls_) h["controls"][name(d)] = values[i];
      if (!entropy_.empty()) details["entropy"] = entropy_[i];
      if (!sink_share_.empty()) details["sink_share"] = sink_share_[i];
      if (movers_) {
        details["direct_effect"] = movers_->dla[i];
        details["attends_io"] = movers_->attends_io[i];
        if (!movers_->copy_score.empty()) {
          details["copy_score"] = movers_->copy_score[i];
          details["copy_score_negative"] = movers_->copy_score_negative[i];
        }
      }
      for (const heads::Suppression& s : cspa_)
        if (s.head == head_at(i))
          details["cspa"] = {{"explained", s.explained ? Json(*s.explained) : Json()}, {"kl", s.kl}, {"kl_mean", s.kl_mean}};
      h["details"] = std::move(details);
      out.push_back(std::move(h));
    }
    return out;
  }

  // Heads by falling score.
  std::vector<size_t> ranked(const std::vector<double>& values) const {
    std::vector<size_t> order(values.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
    return order;
  }

  // The largest score of a control that is not head by head.
  double random_weights_max(Detector d) const {
    const auto control = controls_.find(name(d));
    const bool by_head = head_controls_.contains(d) || control == controls_.end() || !control->contains("max");
    return by_head ? -std::numeric_limits<double>::infinity() : (*control)["max"].get<double>();
  }

  bool labelled(Detector d, size_t i) const {
    if (heads::from_attention(d) && d != Detector::kSink && heads::measure_of(texts_[0], score_) == Measure::kAbs) return false;
    const double score = scores_.at(d)[i];
    if (!(score >= heads::detector_info(d).threshold) || !(score > random_weights_max(d))) return false;
    if (d == Detector::kNameMover) return movers_->copy_score[i] >= kCopyScoreForLabel;
    if (d == Detector::kNegativeMover) return movers_->copy_score_negative[i] >= kCopyScoreForLabel;
    return true;
  }

  std::string probe_of(Detector d) const {
    switch (d) {
      case Detector::kCopying: return "weights";
      case Detector::kSuccessor: return "ordered words";
      case Detector::kCopySuppression: return "tokens of the vocabulary";
      case Detector::kNameMover:
      case Detector::kNegativeMover:
      case Detector::kSInhibition: return "ioi";
      default: return "text";
    }
  }

  Json labels_json() const {
    Json out = Json::array();
    for (const auto& [d, values] : scores_) {
      const std::vector<size_t> order = ranked(values);
      for (size_t rank = 0; rank < order.size(); ++rank) {
        const size_t i = order[rank];
        if (!labelled(d, i)) continue;
        Json l = place(i);
        l["detector"] = name(d);
        l["score"] = values[i];
        const auto control = head_controls_.find(d);
        l["control"] = control == head_controls_.end() ? Json() : Json(control->second[i]);
        l["threshold"] = std::max(heads::detector_info(d).threshold, random_weights_max(d));
        l["rank"] = rank + 1;
        l["probe"] = probe_of(d);
        out.push_back(std::move(l));
      }
    }
    return out;
  }

  VerifyRequest verify_requests() const {
    VerifyRequest request{
        .texts = texts_, .prompts = o_.prompts, .draws = o_.draws, .seed = o_.seed, .bos = o_.bos, .edits = &input_.edits};
    if (movers_)
      for (const size_t i : ranked(movers_->name_mover))
        if (request.movers.size() < kStrongestMovers) request.movers.push_back(head_at(i));
    for (const auto& [d, values] : scores_) {
      std::vector<algebra::HeadId> top;
      for (const size_t i : ranked(values))
        if (std::ssize(top) < o_.top && (labelled(d, i) || top.empty())) top.push_back(head_at(i));
      request.candidates.emplace_back(d, top);
    }
    return request;
  }

  const Context& context_;
  const HeadsOptions& o_;
  const HeadTexts input_;
  heads::ScoreOptions score_ = input_.score;
  const std::vector<ProbeText>& texts_ = input_.texts;
  std::vector<Detector> wanted_;
  std::map<Detector, std::vector<double>> scores_, head_controls_;
  std::vector<double> entropy_, sink_share_;
  std::optional<heads::MoverScores> movers_;
  std::vector<heads::Suppression> cspa_;
  Json controls_ = Json::object(), prefix_ = Json::array(), warnings_ = Json::array(), icl_, loss_;
};

}  // namespace

Json heads(const Context& context, const HeadsOptions& options) { return HeadsRun(context, options).run(); }

}  // namespace microtome::api
