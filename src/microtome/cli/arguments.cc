#include "microtome/cli/arguments.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <limits>

#include "microtome/base/error.h"
#include "microtome/base/file.h"
#include "microtome/base/threads.h"
#include "microtome/cli/progress_line.h"
#include "microtome/cli/terminal.h"
#include "microtome/formats/npy.h"

namespace microtome::cli {
namespace {

constexpr int64_t kAny = std::numeric_limits<int64_t>::max();

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kInvalidArgument, message); }

std::vector<int32_t> token_list(const std::string& text) {
  std::vector<int32_t> ids;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view piece = std::string_view(text).substr(begin, end - begin);
    while (piece.starts_with(' ')) piece.remove_prefix(1);
    while (piece.ends_with(' ')) piece.remove_suffix(1);
    ids.push_back(static_cast<int32_t>(parse_integer(piece, "--tokens: an id", 0, std::numeric_limits<int32_t>::max())));
    begin = end + 1;
  }
  return ids;
}

// [T], or [B, T] with one prompt a row.
std::vector<std::vector<int32_t>> token_rows(const std::string& file) {
  const NpyArray array = read_npy(file);
  const std::string where = printable(file, 200);
  if (array.shape.size() != 1 && array.shape.size() != 2)
    refuse(fmt::format("--tokens-npy {}: the array is {}, expected [T] or [B, T]", where, shape_text(array.shape)));
  const std::vector<int64_t> values = array.integers();
  if (values.empty()) refuse(fmt::format("--tokens-npy {}: the array {} holds no token", where, shape_text(array.shape)));
  const int64_t width = array.shape.back();
  std::vector<std::vector<int32_t>> rows(values.size() / width);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < 0 || values[i] > std::numeric_limits<int32_t>::max())
      refuse(fmt::format("--tokens-npy {}: element {} is {}, expected a token id", where, i, values[i]));
    rows[i / width].push_back(static_cast<int32_t>(values[i]));
  }
  return rows;
}

Tensor load_array(const std::string& file) {
  const NpyArray array = read_npy(file);
  Shape shape = array.shape;
  if (shape.empty()) shape = {1};
  if (numel(shape) == 0) refuse(fmt::format("edit: {}: the array {} is empty", printable(file, 200), shape_text(array.shape)));
  return Tensor::from(array.floats(), shape);
}

}  // namespace

// --- model -----------------------------------------------------------------------------------------------------------------

LoadedModel::LoadedModel(std::shared_ptr<const Model> model, std::string name, double load_s, bool quiet)
    : model_(std::move(model)), name_(std::move(name)), load_s_(load_s), progress_(progress_line(quiet)), guard_(progress_) {}

void ModelArguments::declare(OptionSet& options, bool required) {
  options.positional("MODEL", "a name from `microtome models`, a .gguf file, or a folder (config.json, *.safetensors)", model,
                     required);
}

void ModelArguments::declare_machine(OptionSet& options) {
  options.group("Machine");
  options.integer("--threads", "N", "threads used (default: MICROTOME_THREADS, else all processors)", threads, 1, 1024);
  options.choice("--compute", {"f32", "bf16", "native"}, "numbers of the products; native: the stored, quantised weights",
                 compute);
  options.integer("--seed", "S", "seed of everything random", seed, 0, kAny);
}

ComputeMode ModelArguments::compute_mode() const {
  if (compute == "bf16") return ComputeMode::kBF16;
  if (compute == "native") return ComputeMode::kNative;
  return ComputeMode::kF32;
}

LoadedModel ModelArguments::load(bool quiet) const {
  const auto start = std::chrono::steady_clock::now();
  const std::filesystem::path path = api::resolve_model(model);
  set_num_threads(static_cast<int>(threads));
  auto loaded = Model::load(path, {.compute = compute_mode()});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return {std::move(loaded), model, seconds, quiet};
}

void OutputArguments::declare(OptionSet& options, const std::string& out_help) {
  options.group("Output");
  options.flag("--json", "print JSON", json);
  options.text("--out", "FILE", out_help, out, OptionSet::Value::kFile);
  options.flag("--quiet", "no progress and no remarks", quiet);
}

// --- input -----------------------------------------------------------------------------------------------------------------

void InputArguments::declare(OptionSet& options) { declare_input(options, true); }
void InputArguments::declare_text(OptionSet& options) { declare_input(options, false); }

void InputArguments::declare_input(OptionSet& options, bool with_ids) {
  options.group("Input (one of)");
  options.text("--prompt", "TEXT", "a text", prompt_);
  options.text("--file", "F", "a file's text, byte for byte (-: standard input)", file_, OptionSet::Value::kFile);
  options.text("--prompts", "F", "several prompts, one a line", prompts_, OptionSet::Value::kFile);
  if (with_ids) {
    options.text("--tokens", "5,17,3", "token ids", tokens_);
    options.text("--tokens-npy", "F", "token ids in a NumPy array, [T] or [B, T]", tokens_npy_, OptionSet::Value::kFile);
  }
  options.group("Text");
  options.flag("--bos", "begin with the beginning-of-text token", bos_, true);
  options.flag("--no-bos", "do not (default: as the model's tokenizer does)", bos_, false);
  options.flag("--chat", "wrap the text in the model's chat template, as the user's turn", chat_);
}

api::InputOptions InputArguments::read() const {
  const int given =
      prompt_.has_value() + file_.has_value() + tokens_.has_value() + tokens_npy_.has_value() + prompts_.has_value();
  if (given == 0) refuse("no input; give --prompt TEXT, --file F, --tokens 5,17,3, --tokens-npy F or --prompts F");
  if (given > 1) refuse("several inputs; give one of --prompt, --file, --tokens, --tokens-npy, --prompts");
  api::InputOptions input;
  input.bos = bos_;
  input.chat = chat_;
  if ((tokens_ || tokens_npy_) && (chat_ || bos_))
    refuse("--chat, --bos and --no-bos are for text; token ids are taken as they are");
  if (prompt_) input.prompt = prompt_;
  if (file_) input.prompt = read_file(*file_);
  if (tokens_) input.tokens.push_back(token_list(*tokens_));
  if (tokens_npy_) input.tokens = token_rows(*tokens_npy_);
  if (prompts_) {
    input.prompts = lines_of(read_file(*prompts_));
    if (input.prompts.empty()) refuse(fmt::format("--prompts {}: holds no prompt; write one a line", printable(*prompts_, 200)));
  }
  return input;
}

void EditArguments::declare(OptionSet& options) {
  options.group("Edits");
  options.texts("--edit", "SITE[,pos=..][,head=..][,neuron=..]=OP",
                "OP: zero, mean, scale:X, add:F.npy[*X], set:F.npy, from:TEXT[@pos]; or LENS@LAYER[,pos=..]= add:TOKEN*X, "
                "ablate:TOKEN, swap:A:B",
                edits);
}

std::vector<api::EditOptions> EditArguments::read(bool quiet) const {
  std::vector<api::EditOptions> out;
  for (const std::string& e : edits) {
    out.push_back(api::parse_edit(e, load_array));
    const std::string doubt = out.back().lens ? api::lens_doubt(*out.back().lens) : std::string();
    if (!doubt.empty() && !quiet) std::fprintf(stderr, "microtome: %s\n", inert(doubt).c_str());
  }
  return out;
}

size_t prompt_count(const api::InputOptions& input) {
  return input.prompt.has_value() + input.prompts.size() + input.tokens.size();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

void check_writable(const std::optional<std::string>& path) {
  if (!path || *path == "-") return;
  const std::string shown = printable(*path, 200);
  if (path->empty()) throw Error(ErrorKind::kInvalidArgument, "the name of an output file is empty");
  const std::filesystem::path file(*path);
  std::error_code ec;
  if (std::filesystem::is_directory(file, ec)) throw Error(ErrorKind::kIo, "{}: is a folder; name a file", shown);
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(folder, ec))
    throw Error(ErrorKind::kIo, "{}: cannot be created: there is no folder {}", shown, printable(folder.string(), 200));
  if (!std::filesystem::exists(file, ec) && ::access(folder.c_str(), W_OK) != 0)
    throw Error(ErrorKind::kIo, "{}: cannot be created: {}", shown, std::strerror(errno));
}

}  // namespace microtome::cli
