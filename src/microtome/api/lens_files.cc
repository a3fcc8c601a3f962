#include "microtome/api/lens_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "microtome/api/request.h"
#include "microtome/base/file.h"
#include "microtome/lens/lens_file.h"
#include "microtome/lens/lens_vectors.h"

namespace microtome::api {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void bad(const std::string& message) { throw FieldError("edits", "edit: " + message); }

// What a folder or a name without its ending stands for; empty if nothing is there.
fs::path lens_path(const fs::path& path) {
  std::error_code ec;
  if (fs::is_directory(path, ec)) {
    const fs::path inside = path / "lens.safetensors";
    return fs::is_regular_file(inside, ec) ? inside : fs::path();
  }
  return fs::is_regular_file(path, ec) ? path : fs::path();
}

std::vector<std::string> known_names() {
  std::vector<std::string> names;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(data_home() / "lenses", ec))
    if (!lens_path(entry.path()).empty())
      names.push_back(entry.is_directory() ? entry.path().filename().string() : entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

// Requests come from elsewhere: errors name the lens, not where it lies on this machine.
std::shared_ptr<const FittedLens> load_registered(const fs::path& path, const std::string& name) {
  try {
    return std::make_shared<const FittedLens>(load_lens(path));
  } catch (const Error& e) {
    std::string message = e.what();
    const std::string where = printable(path.string(), 200), shown = fmt::format("lens \"{}\"", printable(name));
    for (size_t at = message.find(where); at != std::string::npos; at = message.find(where, at + shown.size()))
      message.replace(at, where.size(), shown);
    // Who named it can do something about it: a server says what is wrong.
    throw Error(e.kind() == ErrorKind::kCorrupt ? ErrorKind::kInvalidArgument : e.kind(), "{}", message);
  }
}

int32_t token_of(const Model& model, std::string_view text) { return find_token(model, std::string(text)); }

// The vector of "TOKEN" or "~TOKEN".
Tensor vector_of(const Model& model, const LensEdit& e, std::string_view text) {
  if (text.size() > 1 && text.starts_with('~'))
    return random_vector_like(model, e.lens.get(), e.layer, token_of(model, text.substr(1)), 0);
  return lens_vector(model, e.lens.get(), e.layer, token_of(model, text));
}

// Tokens may hold colons: the first cut whose sides are tokens counts.
StreamEdit swap_of(const Model& model, const LensEdit& e) {
  const std::string_view text = e.tokens;
  for (size_t at = text.find(':', 1); at != std::string_view::npos; at = text.find(':', at + 1)) {
    const std::string_view a = text.substr(0, at), b = text.substr(at + 1);
    if (a.empty() || b.empty()) continue;
    const bool last = text.find(':', at + 1) == std::string_view::npos;
    try {
      return swap_edit(vector_of(model, e, a), vector_of(model, e, b));
    } catch (const FieldError&) {
      if (last) throw;
    }
  }
  bad(fmt::format("swap is \"{}\", expected two tokens as in swap: Paris: Rome", printable(text)));
}

// Rows of the slice: positions counted as other edits count them (model/plan.h).
bool in_slice(const Slice& where, const Sequence& q, int64_t position) {
  if (where.generated && position < q.prompt_length) return false;
  if (!where.pos) return true;
  const Range r = *where.pos;
  const int64_t begin = r.begin < 0 ? q.prompt_length + r.begin : r.begin;
  const int64_t end = r.begin < 0 && r.end <= 0 ? q.prompt_length + r.end : r.end;
  return position >= begin && position < end;
}

}  // namespace

std::shared_ptr<const FittedLens> registered_lens(const std::string& name) {
  if (name.empty() || name.find_first_of("/\\") != std::string::npos || name.starts_with("."))
    throw Error(ErrorKind::kInvalidArgument, "lens \"{}\": expected the name of a lens that `microtome train lens` made",
                printable(name));
  for (const char* end : {"", ".safetensors", ".pt"})
    if (const fs::path path = lens_path(data_home() / "lenses" / (name + end)); !path.empty()) return load_registered(path, name);
  throw Error(ErrorKind::kNotFound, "no lens is called \"{}\"; there are: {}; `microtome train lens` makes one", printable(name),
              known_names().empty() ? "none" : fmt::format("{}", fmt::join(known_names(), ", ")));
}

std::shared_ptr<const FittedLens> lens_of_field(const std::string& field, const std::string& name) {
  try {
    return registered_lens(name);
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kIo) throw;
    throw FieldError(field, e.what());
  }
}

std::shared_ptr<const FittedLens> open_lens(const std::string& name_or_path) {
  if (name_or_path == "logit") return nullptr;
  if (const fs::path path = lens_path(name_or_path); !path.empty()) return std::make_shared<const FittedLens>(load_lens(path));
  if (name_or_path.find('/') != std::string::npos || fs::path(name_or_path).has_extension())
    throw Error(ErrorKind::kNotFound, "{}: no such lens; `microtome train lens` makes one", printable(name_or_path, 200));
  return registered_lens(name_or_path);
}

std::string lens_doubt(const LensEdit& edit) { return edit.lens ? edit.lens->doubt(printable(edit.name, 200)) : std::string(); }

std::optional<std::pair<std::string, int64_t>> lens_and_layer(std::string_view site) {
  const size_t at = site.rfind('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == site.size()) return {};
  int64_t layer = 0;
  const auto [end, error] = std::from_chars(site.data() + at + 1, site.data() + site.size(), layer);
  if (error != std::errc() || end != site.data() + site.size() || layer < 0) return {};
  return std::pair{std::string(site.substr(0, at)), layer};
}

Edit bind_lens_edit(const Model& model, const LensEdit& e, const Slice& where) {
  const Config& config = model.config();
  if (e.lens && *e.fits != &model) {
    e.lens->check_fits(model, printable(e.name, 200));
    *e.fits = &model;
  }
  if (e.layer >= config.n_layers)
    bad(fmt::format("{}@{}: the model has layers 0 to {}", printable(e.name), e.layer, config.n_layers - 1));
  if (where.head || where.neuron) bad("an edit through a lens takes pos only: its vectors are as wide as the stream");
  Edit edit;
  const bool tuned = e.lens && e.lens->kind == LensKind::kTuned;
  edit.site = {tuned ? SiteKind::kResidPre : SiteKind::kResidPost, static_cast<int>(e.layer)};
  edit.where = where;
  if (e.op == LensEdit::Op::kAdd) {
    edit.op = EditOp::kAdd;
    edit.value = vector_of(model, e, e.tokens);
    edit.factor = static_cast<float>(e.factor);
    return edit;
  }
  const StreamEdit change = e.op == LensEdit::Op::kAblate ? ablate_edit(vector_of(model, e, e.tokens)) : swap_of(model, e);
  edit.op = EditOp::kCustom;
  edit.custom = [change, where](SiteValue& v) {
    const int64_t d = v.data.size(-1);
    for (const Sequence& q : v.batch->sequences)
      for (int64_t r = q.row_begin; r < q.row_end; ++r)
        if (in_slice(where, q, v.batch->positions[r])) apply_stream_edit(change, v.data.f32() + r * d, d);
  };
  return edit;
}

}  // namespace microtome::api
