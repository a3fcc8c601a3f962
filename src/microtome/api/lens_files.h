// Fitted lenses as commands name them: by a file, by the folder that `train lens` wrote, or by a name under
// data_home()/lenses; and edits through them (LENS@LAYER=add:TOKEN*X, =ablate:TOKEN, =swap:A:B).
//
//   auto lens = registered_lens("smollm2-135m-jacobian");      // what a request may name
//   auto lens = open_lens("out/lens.safetensors");             // what the command line may name
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "microtome/lens/fitted_lens.h"
#include "microtome/model/plan.h"

namespace microtome::api {

// Throws InvalidArgument for a name with a path in it, NotFound with the names there are.
std::shared_ptr<const FittedLens> registered_lens(const std::string& name);

// The same for a request: FieldError names the field that names the lens.
std::shared_ptr<const FittedLens> lens_of_field(const std::string& field, const std::string& name);

// A file or folder if there is one, else as above. "logit": null, the logit lens.
std::shared_ptr<const FittedLens> open_lens(const std::string& name_or_path);

// An edit through a lens, before it is bound to a model.
struct LensEdit {
  enum class Op { kAdd, kAblate, kSwap };
  std::string name;                        // as the user wrote it
  std::shared_ptr<const FittedLens> lens;  // null: the logit lens
  int64_t layer = 0;
  Op op = Op::kAdd;
  std::string tokens;  // "TOKEN", or "A:B" for swap; "~TOKEN" is a random token at TOKEN's length
  double factor = 1;
  // The model that the lens was found to fit: looked at once.
  std::shared_ptr<const Model*> fits = std::make_shared<const Model*>(nullptr);
};

// "LENS@LAYER" cut into its parts; nothing if it has another form.
std::optional<std::pair<std::string, int64_t>> lens_and_layer(std::string_view site);

// FittedLens::doubt of the edit's lens.
std::string lens_doubt(const LensEdit& edit);

// The edit on a model: tuned lenses at the input of their block, others at its output. Throws InvalidArgument (a lens of another
// model, a layer outside of it, a token that is none).
Edit bind_lens_edit(const Model& model, const LensEdit& edit, const Slice& where);

}  // namespace microtome::api
