#include "microtome/server/openai.h"

#include <nlohmann/json.hpp>

#include "microtome/server/errors.h"
#include "microtome/server/openai_format.h"
#include "microtome/server/reply.h"
#include "microtome/server/sse.h"

namespace microtome::server {
namespace {

// Everything a job needs; owned by its closure.
struct Completion {
  api::Context context;
  CompletionRequest request;
  std::vector<std::vector<int32_t>> prompts;
  AnswerHead head;
};

// Hears each token's piece of a choice as it comes; `piece.finish` is set in the last.
using OnPiece = std::function<void(const Choice& piece, bool first)>;

bool ends_turn(const Model& model, int32_t id) {
  const Tokenizer* tokenizer = model.tokenizer();
  return tokenizer && id < tokenizer->vocab_size() && tokenizer->is_end_of_turn(id);
}

// The answer number `k` to a prompt. Returns the tokens it took.
int64_t generate_choice(const Completion& c, const std::vector<int32_t>& prompt, int64_t index, int64_t k,
                        const Progress& progress, const OnPiece& on_piece) {
  const Model& model = *c.context.model;
  Plan plan;
  api::add_edits(c.context, c.request.edits, {.tokens = c.prompts}, plan, model.config().context);
  GenerateOptions options{.max_tokens = c.request.max_tokens.value_or(model.config().context),
                          .sampling = c.request.sampling,
                          .stop = c.request.stop,
                          .progress = &progress};
  options.sampling.stream = static_cast<uint64_t>(k);
  bool first = true;
  if (c.request.echo) {
    on_piece({.index = index, .text = model.need_tokenizer().decode(prompt)}, true);
    first = false;
  }
  const Generated done = generate(model, prompt, plan, options, [&](const Step& step) {
    Choice piece{.index = index, .text = step.text};
    // The token that ends the turn is no part of the answer.
    if (c.request.logprobs && !ends_turn(model, step.id))
      piece.logprobs.push_back(token_logprob(step.logits, step.id, *c.request.logprobs));
    if (first || !piece.text.empty() || !piece.logprobs.empty()) on_piece(piece, first);
    first = false;
    return true;
  });
  on_piece({.index = index, .finish = done.finish}, first);
  return std::ssize(done.ids);
}

Usage generate_all(Completion& c, Job& job, const OnPiece& on_piece) {
  c.context.progress = &job.progress();
  Usage usage;
  for (size_t p = 0; p < c.prompts.size(); ++p) {
    usage.prompt_tokens += std::ssize(c.prompts[p]);
    for (int64_t k = 0; k < c.request.n; ++k)
      usage.completion_tokens +=
          generate_choice(c, c.prompts[p], static_cast<int64_t>(p) * c.request.n + k, k, job.progress(), on_piece);
  }
  return usage;
}

HttpResponse whole_answer(Completion& c, Job& job) {
  std::vector<Choice> choices(c.prompts.size() * c.request.n);
  const Usage usage = generate_all(c, job, [&](const Choice& piece, bool) {
    Choice& choice = choices[piece.index];
    choice.index = piece.index;
    choice.text += piece.text;
    choice.logprobs.insert(choice.logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
    choice.finish = piece.finish;
  });
  return json_response(completion_json(c.head, *c.context.model, choices, usage, c.request.logprobs.has_value()));
}

void streamed_answer(Completion& c, Job& job) {
  std::vector<int64_t> offsets(c.prompts.size() * c.request.n);
  const Usage usage = generate_all(c, job, [&](const Choice& piece, bool first) {
    job.emit(sse_event(chunk_json(c.head, *c.context.model, piece, first, c.request.logprobs.has_value(), offsets[piece.index],
                                  c.request.include_usage)));
  });
  if (c.request.include_usage) job.emit(sse_event(usage_chunk_json(c.head, usage)));
  job.emit(sse_done());
}

Json model_json(const ModelSlot& slot) {
  return {{"id", slot.name()}, {"object", "model"}, {"created", 0}, {"owned_by", "microtome"}};
}

}  // namespace

HttpResponse list_models(const ModelSlot& slot) {
  Json data = Json::array();
  if (!slot.name().empty()) data.push_back(model_json(slot));
  return json_response({{"object", "list"}, {"data", data}});
}

HttpResponse show_model(const ModelSlot& slot, const std::string& name) {
  if (name != slot.name() || name.empty())
    throw HttpError(404, "this model is not served here; /v1/models lists those that are", "model");
  return json_response(model_json(slot));
}

HttpResponse complete(Engine& engine, const ModelSlot& slot, const HttpRequest& request, const Json& body, Endpoint endpoint) {
  const auto model = body.find("model");
  slot.check_name(model == body.end() ? nullptr : &*model);
  auto c = std::make_shared<Completion>();
  c->request = parse_completion(body, endpoint);
  c->context = {.model = slot.get(), .name = slot.name()};
  c->prompts = encode_prompts(c->context, c->request);
  c->head = answer_head(endpoint, c->context);
  if (c->request.stream)
    return stream(
        engine, request, [c](Job& job) { streamed_answer(*c, job); }, false);
  return answer(engine, request, [c](Job& job) { return whole_answer(*c, job); });
}

}  // namespace microtome::server
