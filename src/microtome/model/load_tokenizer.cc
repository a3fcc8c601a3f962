#include "microtome/model/load_tokenizer.h"

#include "microtome/base/error.h"
#include "microtome/base/file.h"

namespace microtome {
namespace {

std::unique_ptr<Tokenizer> from_gguf(const Metadata& m) {
  const auto kind = m.string("tokenizer.ggml.model");
  if (!kind) return nullptr;
  if (*kind != "gpt2")
    throw Error(ErrorKind::kUnsupported, "gguf: tokenizer \"{}\" is not supported; known is gpt2 (byte-level BPE)",
                printable(*kind));
  const auto tokens = m.strings("tokenizer.ggml.tokens");
  const auto merges = m.strings("tokenizer.ggml.merges");
  if (!tokens || !merges) throw Error(ErrorKind::kCorrupt, "gguf: tokenizer.ggml.tokens or tokenizer.ggml.merges is missing");
  const auto id = [&](const char* key) -> std::optional<int> {
    const auto v = m.u64(fmt::format("tokenizer.ggml.{}_token_id", key));
    return v && *v < tokens->size() ? std::optional<int>(static_cast<int>(*v)) : std::nullopt;
  };
  BpeSource source;
  source.tokens = *tokens;
  source.merges = *merges;
  source.token_types = m.i32s("tokenizer.ggml.token_type").value_or(std::vector<int32_t>{});
  source.pre = m.string("tokenizer.ggml.pre").value_or("gpt-2");
  source.bos = id("bos");
  source.eos = id("eos");
  source.unk = id("unknown");
  source.pad = id("padding");
  source.add_bos = m.boolean("tokenizer.ggml.add_bos_token").value_or(false);
  source.add_eos = m.boolean("tokenizer.ggml.add_eos_token").value_or(false);
  source.chat_template = m.string("tokenizer.chat_template").value_or("");
  return std::make_unique<Tokenizer>(Tokenizer::from_bpe(source));
}

std::unique_ptr<Tokenizer> from_folder(const std::filesystem::path& folder) {
  constexpr uint64_t kLimit = uint64_t{256} << 20;
  if (!std::filesystem::exists(folder / "tokenizer.json")) return nullptr;
  const std::string config = std::filesystem::exists(folder / "tokenizer_config.json")
                                 ? read_regular_file(folder / "tokenizer_config.json", kLimit)
                                 : "";
  return std::make_unique<Tokenizer>(Tokenizer::from_huggingface(read_regular_file(folder / "tokenizer.json", kLimit), config));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const Checkpoint& checkpoint) {
  return checkpoint.format() == CheckpointFormat::kGguf ? from_gguf(checkpoint.metadata()) : from_folder(checkpoint.path());
}

}  // namespace microtome
