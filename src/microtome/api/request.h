// What every command that runs a model shares: the model, the input, the edits; and reading options from JSON.
//
// One file per command: typed options -> result -> JSON. No terminal, no HTTP, no reading of files that a request names: the
// command line reads files into options, the server refuses them. All functions throw microtome::Error.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "microtome/api/lens_files.h"
#include "microtome/base/json.h"
#include "microtome/model/model.h"

namespace microtome::api {

// A loaded model as a command sees it. `name` is what results call it.
struct Context {
  std::shared_ptr<const Model> model;
  std::string name;
  Progress* progress = nullptr;
};

// Exactly one of prompt, prompts, tokens. Text is taken byte for byte.
struct InputOptions {
  std::optional<std::string> prompt;
  std::vector<std::string> prompts;
  std::vector<std::vector<int32_t>> tokens;
  std::optional<bool> bos;  // absent: as the tokenizer does
  bool chat = false;        // wrap each text in the model's chat template, as the user's turn
};

// Token ids of each prompt. Throws InvalidArgument: no input or several kinds of it, an empty prompt, one longer than the
// model's context, an id outside of the vocabulary.
std::vector<std::vector<int32_t>> encode_input(const Context& context, const InputOptions& input);

// One text, as encode_input treats each.
std::vector<int32_t> encode_text(const Context& context, const std::string& text, std::optional<bool> bos, bool chat);

// Tokens of the longest.
int64_t longest_of(const std::vector<std::vector<int32_t>>& prompts);

// --- edits -----------------------------------------------------------------------------------------------------------------

// SITE[,pos=..][,head=..][,neuron=..]=OP, or LENS@LAYER[,pos=..]=OP, before it is bound to a model.
struct EditOptions {
  std::string site;  // a site pattern: every match is edited
  Slice where;
  EditOp op = EditOp::kZero;
  float factor = 1;
  Tensor value;                     // kAdd, kSet
  std::optional<std::string> from;  // another prompt, whose value at the site is set
  std::optional<int64_t> from_pos;  // one position of it (negative: from its end)
  std::optional<LensEdit> lens;     // instead of all but `where`
};

// The command line's syntax; `load_array` reads the .npy file that add: and set: name, `load_lens` the lens of LENS@LAYER
// (default: open_lens).
EditOptions parse_edit(const std::string& text, const std::function<Tensor(const std::string& file)>& load_array,
                       const std::function<std::shared_ptr<const FittedLens>(const std::string& lens)>& load_lens = {});

// An object {site, pos, head, neuron, op, value}; `op` zero|mean|scale|add|set|from, `value` a number, an array (nested), or for
// `from` a text[@pos]; pos, head, neuron are numbers, "A:B", or (pos) "gen". A site NAME@LAYER is a registered lens (or logit),
// with op add|ablate|swap and a text as value: "TOKEN*X", "TOKEN", "A:B".
EditOptions edit_from_json(const Json& json);

// Adds the edits to a plan, in order. Runs the prompts that `from` names. `positions`: how many the run can have, generated ones
// included; an edit that begins beyond them is refused.
void add_edits(const Context& context, const std::vector<EditOptions>& edits, const InputOptions& input, Plan& plan,
               int64_t positions);

// --- reading a JSON request ---------------------------------------------------------------------------------------------------

// Typed access to a request's fields; unknown fields are refused by finish(), errors name the field.
class Fields {
 public:
  // `object` must outlive this. Throws InvalidArgument if it is not an object.
  explicit Fields(const Json& object);

  const Json* find(const std::string& name);  // marks it as known; null and absent are the same
  std::optional<std::string> text(const std::string& name);
  std::optional<int64_t> integer(const std::string& name, int64_t low, int64_t high);
  std::optional<double> number(const std::string& name);
  std::optional<bool> boolean(const std::string& name);
  std::vector<std::string> texts(const std::string& name);  // a string or an array of strings

  InputOptions input();              // prompt, prompts, tokens, bos, chat
  std::vector<EditOptions> edits();  // edits

  // Throws InvalidArgument naming the first field that nobody asked for.
  void finish() const;

 private:
  const Json& object_;
  std::set<std::string> known_;
};

// A field of a request that is wrong; `param` names it in HTTP errors.
class FieldError : public Error {
 public:
  FieldError(std::string param, const std::string& message)
      : Error(ErrorKind::kInvalidArgument, message), param_(std::move(param)) {}
  const std::string& param() const { return param_; }

 private:
  std::string param_;
};

// {id, text} as results show tokens; without a tokenizer the text is "#id".
Json token_json(const Model& model, int32_t id);
std::string token_text(const Model& model, int32_t id);

// A token that an option names: a text that is exactly one token (with or without a leading space is not guessed), or #id.
int32_t find_token(const Model& model, const std::string& text);

}  // namespace microtome::api
