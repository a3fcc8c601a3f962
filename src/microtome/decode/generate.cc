#include "microtome/decode/generate.h"

#include <algorithm>
#include <chrono>

#include "microtome/base/error.h"
#include "microtome/text/stream_decoder.h"

namespace microtome {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

bool takes_means(const Plan& plan) {
  return std::any_of(plan.edits().begin(), plan.edits().end(), [](const Edit& e) { return e.op == EditOp::kMean; });
}

// Text that is held back while it may still become a stop string.
class StopFilter {
 public:
  explicit StopFilter(const std::vector<std::string>& stops) : stops_(stops) {}

  // What may be shown after `text` arrived; sets stopped().
  std::string push(std::string_view text) {
    held_ += text;
    size_t cut = std::string::npos;
    for (const std::string& s : stops_)
      if (!s.empty()) cut = std::min(cut, held_.find(s));
    if (cut != std::string::npos) {
      stopped_ = true;
      std::string out = held_.substr(0, cut);
      held_.clear();
      return out;
    }
    size_t keep = 0;
    for (const std::string& s : stops_)
      for (size_t n = std::min(s.size(), held_.size() + 1) - (s.empty() ? 0 : 1); n > keep; --n)
        if (held_.ends_with(std::string_view(s).substr(0, n))) keep = n;
    std::string out = held_.substr(0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
    return out;
  }
  // The last text, and all that was held back.
  std::string finish(std::string_view text) {
    std::string out = push(text);
    if (!stopped_) out += std::exchange(held_, {});
    return out;
  }
  bool stopped() const { return stopped_; }

 private:
  const std::vector<std::string>& stops_;
  std::string held_;
  bool stopped_ = false;
};

Tensor last_logits(const Model& model, const Batch& batch, Plan& plan, const Progress* progress) {
  plan.logit_rows = LogitRows::kLast;
  return forward(model, {.batch = batch, .plan = &plan, .progress = progress}).logits.data;
}

}  // namespace

const char* to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kCancelled: return "cancelled";
    default: return "length";
  }
}

Tensor prefill(const Model& model, std::span<const int32_t> prompt, Plan& plan, KvCache& cache, int64_t chunk,
               const Progress* progress) {
  const int64_t n = std::ssize(prompt);
  if (chunk < 1 || takes_means(plan)) chunk = n;
  Tensor logits;
  for (int64_t begin = 0; begin < n; begin += chunk) {
    Batch batch;
    batch.add_sequence(prompt.subspan(begin, std::min(chunk, n - begin)), &cache, begin, n);
    const bool last = begin + chunk >= n;
    plan.logit_rows = last ? LogitRows::kLast : LogitRows::kNone;
    logits = forward(model, {.batch = batch, .plan = &plan, .progress = progress}).logits.data;
  }
  return logits;
}

Generated generate(const Model& model, const std::vector<int32_t>& prompt, Plan& plan, const GenerateOptions& options,
                   const std::function<bool(const Step&)>& on_step) {
  const int64_t n = std::ssize(prompt), context = model.config().context;
  if (n == 0) throw Error(ErrorKind::kInvalidArgument, "the prompt is empty; give at least one token");
  if (n >= context)
    throw Error(ErrorKind::kInvalidArgument,
                "the prompt has {} tokens, which leave no room in the model's context of {}; shorten it", n, context);
  if (options.max_tokens < 0)
    throw Error(ErrorKind::kInvalidArgument, "max-tokens is {}, expected 0 or more", options.max_tokens);
  Sampler sampler(options.sampling);
  const Tokenizer* tokenizer = model.tokenizer();
  std::optional<StreamDecoder> decoder;
  if (tokenizer) decoder.emplace(*tokenizer);
  StopFilter filter(options.stop);
  KvCache cache = model.make_cache();
  Generated out;
  std::vector<int32_t> all = prompt;

  const double start = now_s();
  Tensor logits = prefill(model, prompt, plan, cache, options.prefill_chunk, options.progress);
  out.prompt_s = now_s() - start;
  const double decode_start = now_s();
  for (int64_t i = 0; i < std::min(options.max_tokens, context - n); ++i) {
    if (i > 0) {
      Batch batch;
      if (options.use_cache) {
        batch.add_sequence({&all.back(), 1}, &cache, n + i - 1, n);
      } else {
        batch.add_sequence(all, nullptr, 0, n);
      }
      logits = last_logits(model, batch, plan, options.progress);
    }
    const std::span<const float> row(std::as_const(logits).f32(), static_cast<size_t>(logits.numel()));
    const int32_t id = sampler.draw(row, static_cast<uint64_t>(i));
    all.push_back(id);
    out.ids.push_back(id);
    const bool ends = options.stop_at_end_of_turn && tokenizer && id < tokenizer->vocab_size() && tokenizer->is_end_of_turn(id);
    const bool last = i + 1 == std::min(options.max_tokens, context - n);
    std::string text;
    if (decoder && !ends) text = filter.push(decoder->push(id));
    if (decoder && (ends || last) && !filter.stopped()) text += filter.finish(decoder->flush());
    out.text += text;
    if (on_step && !on_step({i, id, text, row})) {
      out.finish = FinishReason::kCancelled;
      break;
    }
    if (ends || filter.stopped()) {
      out.finish = FinishReason::kStop;
      break;
    }
  }
  out.decode_s = now_s() - decode_start;
  if (options.run_last_token && !out.ids.empty()) {
    Batch batch;
    if (options.use_cache) batch.add_sequence({&all.back(), 1}, &cache, std::ssize(all) - 1, n);
    else batch.add_sequence(all, nullptr, 0, n);
    last_logits(model, batch, plan, options.progress);
  }
  return out;
}

}  // namespace microtome
