// tokenizer.json as the `tokenizers` library writes it (its own files are the only specification).
#include <simdjson.h>

#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/base/json.h"
#include "microtome/text/byte_alphabet.h"
#include "microtome/text/tokenizer_impl.h"

namespace microtome {
namespace {

using Element = simdjson::dom::element;
using Object = simdjson::dom::object;
using Array = simdjson::dom::array;

constexpr size_t kMaxDepth = 64;

[[noreturn]] void unsupported(std::string_view what, std::string_view found) {
  throw Error(ErrorKind::kUnsupported, "tokenizer.json: {} \"{}\" is not supported (byte-level BPE is)", what, printable(found));
}

// Typed access to the members of one object; `path` names it in messages.
struct Node {
  Object object;
  std::string path;

  static Node from(Element element, std::string path) {
    Object object;
    if (element.get(object) != simdjson::SUCCESS)
      throw Error(ErrorKind::kCorrupt, "tokenizer.json: \"{}\" is not an object", path);
    return {object, std::move(path)};
  }
  // Nothing if absent or null.
  std::optional<Element> find(std::string_view key) const {
    Element element;
    if (object.at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) return std::nullopt;
    return element;
  }
  template <class T>
  std::optional<T> get(std::string_view key, const char* expected) const {
    const auto element = find(key);
    if (!element) return std::nullopt;
    T value;
    if (element->get(value) != simdjson::SUCCESS)
      throw Error(ErrorKind::kCorrupt, "tokenizer.json: \"{}.{}\" is not {}", path, key, expected);
    return value;
  }
  // Empty if absent.
  std::vector<Element> list(std::string_view key) const {
    const auto array = get<Array>(key, "a list");
    return array ? std::vector<Element>(array->begin(), array->end()) : std::vector<Element>();
  }
  std::string_view text(std::string_view key) const { return get<std::string_view>(key, "a text").value_or(""); }
  bool flag(std::string_view key, bool otherwise) const { return get<bool>(key, "true or false").value_or(otherwise); }
  std::string_view type() const { return text("type"); }
};

Element parse(simdjson::dom::parser& parser, std::string_view text, const char* where) {
  if (parser.allocate(text.size(), kMaxDepth) != simdjson::SUCCESS)
    throw Error(ErrorKind::kIo, "{}: no memory to parse {} bytes", where, text.size());
  Element root;
  const simdjson::error_code error = parser.parse(text.data(), text.size()).get(root);
  if (error != simdjson::SUCCESS) throw Error(ErrorKind::kCorrupt, "{}: not JSON: {}", where, simdjson::error_message(error));
  return root;
}

// Every element of a list that may be given as `{"type": "Sequence", key: [...]}`, as one `{"type": ...}`, or as null.
std::vector<Node> sequence(std::optional<Element> element, std::string_view key, const std::string& path) {
  if (!element) return {};
  Node node = Node::from(*element, path);
  if (node.type() != "Sequence") return {node};
  std::vector<Node> nodes;
  for (const Element child : node.list(key)) {
    nodes.push_back(Node::from(child, path));
    if (nodes.back().type() == "Sequence") unsupported(path, "Sequence in a Sequence");
  }
  return nodes;
}

// ---- normalizer, pre-tokenizer, post-processor ----

void read_normalizer(const Node& root, Tokenizer::Impl& impl) {
  for (const Node& node : sequence(root.find("normalizer"), "normalizers", "normalizer")) {
    if (node.type() != "NFC") unsupported("normalizer", node.type());
    impl.normalize_nfc = true;
  }
}

PreTokenizer split_pattern(const Node& node) {
  constexpr std::string_view kTail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  constexpr std::string_view kHead = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  constexpr std::string_view kGpt2Tail = R"(| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  const auto pattern = node.find("pattern");
  const std::string_view regex = pattern ? Node::from(*pattern, "pre_tokenizer.pattern").text("Regex") : "";
  if (node.text("behavior") != "Isolated" || node.flag("invert", false))
    unsupported("Split with behavior", node.text("behavior"));
  const auto is = [&](std::string_view head, std::string_view body, std::string_view tail) {
    return regex == std::string(head) + std::string(body) + std::string(tail);
  };
  if (is(kHead, R"(\p{N}{1,3})", kTail)) return PreTokenizer::kLlama3;
  if (is(kHead, R"(\p{N})", kTail)) return PreTokenizer::kQwen2;
  if (is("'s|'t|'re|'ve|'m|'ll|'d", "", kGpt2Tail) || is("'(?:[sdmt]|ll|ve|re)", "", kGpt2Tail)) return PreTokenizer::kGpt2;
  unsupported("pre-tokenizer Split with pattern", regex);
}

void read_pre_tokenizer(const Node& root, Tokenizer::Impl& impl) {
  bool digits = false, byte_level = false, use_regex = false;
  std::optional<PreTokenizer> split;
  for (const Node& node : sequence(root.find("pre_tokenizer"), "pretokenizers", "pre_tokenizer")) {
    if (byte_level) unsupported("pre-tokenizer after ByteLevel", node.type());
    if (node.type() == "Digits" && node.flag("individual_digits", false) && !digits && !split) {
      digits = true;
    } else if (node.type() == "Split" && !digits && !split) {
      split = split_pattern(node);
    } else if (node.type() == "ByteLevel") {
      byte_level = true;
      use_regex = node.flag("use_regex", true);
      impl.add_prefix_space = node.flag("add_prefix_space", true);
    } else {
      unsupported("pre-tokenizer (or its place in the sequence)", node.type());
    }
  }
  if (!byte_level) unsupported("pre-tokenizer", "without ByteLevel");
  if (split && use_regex) unsupported("pre-tokenizer", "Split, then ByteLevel with use_regex");
  if (impl.add_prefix_space && (digits || split)) unsupported("ByteLevel option after other cuts", "add_prefix_space");
  impl.pre = split    ? *split
             : digits ? (use_regex ? PreTokenizer::kDigitsGpt2 : PreTokenizer::kDigits)
                      : (use_regex ? PreTokenizer::kGpt2 : PreTokenizer::kWhole);
}

// Ids that TemplateProcessing puts before and after a single text.
void read_template(const Node& node, TokenizerBuilder& builder) {
  const auto specials = node.find("special_tokens");
  std::vector<int32_t>* side = &builder.impl->prefix;
  for (const Element element : node.list("single")) {
    const Node piece = Node::from(element, "post_processor.single");
    if (piece.find("Sequence")) {
      side = &builder.impl->suffix;
      continue;
    }
    const auto special = piece.find("SpecialToken");
    if (!special || !specials) throw Error(ErrorKind::kCorrupt, "tokenizer.json: post_processor names no special token");
    const std::string name(Node::from(*special, "post_processor.single").text("id"));
    const auto entry = Node::from(*specials, "post_processor.special_tokens").find(name);
    if (!entry) throw Error(ErrorKind::kCorrupt, "tokenizer.json: post_processor does not define \"{}\"", printable(name));
    for (const Element id : Node::from(*entry, "post_processor.special_tokens").list("ids")) {
      int64_t value = -1;
      if (id.get(value) != simdjson::SUCCESS || value < 0 || static_cast<uint64_t>(value) >= builder.impl->records.size())
        throw Error(ErrorKind::kCorrupt, "tokenizer.json: post_processor gives \"{}\" an id outside of the vocabulary",
                    printable(name));
      side->push_back(static_cast<int32_t>(value));
    }
  }
}

void read_post_processor(const Node& root, TokenizerBuilder& builder) {
  for (const Node& node : sequence(root.find("post_processor"), "processors", "post_processor")) {
    if (node.type() == "TemplateProcessing") read_template(node, builder);
    else if (node.type() != "ByteLevel") unsupported("post-processor", node.type());
  }
}

// ---- vocabulary ----

void read_vocabulary(const Node& model, TokenizerBuilder& builder) {
  const auto vocab = model.get<Object>("vocab", "an object");
  if (!vocab) throw Error(ErrorKind::kCorrupt, "tokenizer.json: model.vocab is missing");
  const auto merges = model.get<Array>("merges", "a list");
  builder.impl->bpe.reserve(vocab->size(), merges ? merges->size() : 0, 8 * vocab->size());
  std::string bytes;
  for (const auto [written, value] : *vocab) {
    int64_t id = -1;
    if (value.get(id) != simdjson::SUCCESS)
      throw Error(ErrorKind::kCorrupt, "tokenizer.json: token \"{}\" has no integer id", printable(written));
    bytes.clear();
    const bool encodable = append_from_alphabet(written, bytes);
    builder.set_record(id, encodable ? std::string_view(bytes) : written, false);
    if (encodable) builder.impl->bpe.add_token(static_cast<int32_t>(id), bytes);
  }
}

// A merge is written "a b" or ["a", "b"].
bool read_merge(Element element, std::string& bytes, size_t& split) {
  std::string_view left, right, both;
  Array pair;
  if (element.get(both) == simdjson::SUCCESS) {
    const size_t space = both.find(' ');
    if (space == std::string_view::npos) return false;
    left = both.substr(0, space);
    right = both.substr(space + 1);
  } else if (element.get(pair) != simdjson::SUCCESS || pair.size() != 2 || pair.at(0).get(left) != simdjson::SUCCESS ||
             pair.at(1).get(right) != simdjson::SUCCESS) {
    return false;
  }
  bytes.clear();
  if (!append_from_alphabet(left, bytes)) return false;
  split = bytes.size();
  return append_from_alphabet(right, bytes);
}

void read_merges(const Node& model, Tokenizer::Impl& impl) {
  std::string bytes;
  size_t index = 0, split = 0;
  for (const Element element : model.list("merges")) {
    const bool good = read_merge(element, bytes, split);
    const std::string_view both = bytes;
    if (!good || !impl.bpe.add_merge(both.substr(0, split), both.substr(split)))
      throw Error(ErrorKind::kCorrupt, "tokenizer.json: merge {} does not join two tokens of the vocabulary into a third", index);
    ++index;
  }
}

void read_added_tokens(const Node& root, TokenizerBuilder& builder) {
  for (const Element element : root.list("added_tokens")) {
    const Node node = Node::from(element, "added_tokens");
    const auto id = node.get<int64_t>("id", "an integer");
    if (!id || *id < 0 || *id >= TokenizerBuilder::kMaxIds)
      throw Error(ErrorKind::kCorrupt, "tokenizer.json: added token \"{}\" has no good id", printable(node.text("content")));
    builder.add_added({.id = static_cast<int32_t>(*id),
                       .content = std::string(node.text("content")),
                       .special = node.flag("special", false),
                       .normalized = node.flag("normalized", false),
                       .single_word = node.flag("single_word", false),
                       .lstrip = node.flag("lstrip", false),
                       .rstrip = node.flag("rstrip", false)});
  }
}

std::optional<int> id_of(const Tokenizer::Impl& impl, std::string_view token) {
  if (token.empty()) return std::nullopt;
  const auto added = impl.added_ids.find(std::string(token));
  if (added != impl.added_ids.end()) return added->second;
  const auto bytes = bytes_from_alphabet(token);
  const int32_t id = bytes ? impl.bpe.find(*bytes) : Bpe::kNone;
  return id == Bpe::kNone ? std::nullopt : std::optional<int>(id);
}

// Bytes without a token: `<0x0A>` tokens if the model falls back on them, else the unknown token if it has one.
void read_fallback(const Node& model, TokenizerBuilder& builder) {
  Tokenizer::Impl& impl = *builder.impl;
  impl.unk = id_of(impl, model.text("unk_token"));
  bool missing = false;
  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<uint8_t>(b);
    if (impl.bpe.byte_id(byte) != Bpe::kNone) continue;
    std::optional<int> id = impl.unk;
    if (model.flag("byte_fallback", false)) {
      if (const auto fallback = id_of(impl, fmt::format("<0x{:02X}>", b))) {
        id = fallback;
        const char raw = static_cast<char>(byte);
        builder.set_record(*id, {&raw, 1}, false);
      }
    }
    missing = missing || (id && id == impl.unk);
    if (id) impl.bpe.set_byte(byte, *id);
  }
  if (missing && model.flag("fuse_unk", false)) unsupported("model option", "fuse_unk");
}

void read_model(const Node& root, TokenizerBuilder& builder) {
  const auto element = root.find("model");
  if (!element) throw Error(ErrorKind::kCorrupt, "tokenizer.json: \"model\" is missing");
  const Node model = Node::from(*element, "model");
  if (!model.type().empty() && model.type() != "BPE") unsupported("model", model.type());
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.text(key).empty()) unsupported("model option", key);
  }
  if (model.get<double>("dropout", "a number").value_or(0) != 0) unsupported("model option", "dropout");
  read_vocabulary(model, builder);
  read_merges(model, *builder.impl);
  builder.impl->bpe.set_ignore_merges(model.flag("ignore_merges", false));
  read_added_tokens(root, builder);
  read_fallback(model, builder);
}

// ---- tokenizer_config.json ----

// The other parser: common files hold model_max_length 10^30, which simdjson refuses.
std::string config_text(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return {};
  if (!at->is_string()) throw Error(ErrorKind::kCorrupt, "tokenizer_config.json: \"{}\" is not a text", key);
  return at->get<std::string>();
}

// A token is written as its text or as an object with its `content`.
std::optional<int> config_token(const Json& config, const char* key, const Tokenizer::Impl& impl) {
  const auto at = config.find(key);
  if (at == config.end() || at->is_null()) return std::nullopt;
  return id_of(impl, at->is_object() ? config_text(*at, "content") : config_text(config, key));
}

// One template, or a list of named ones, of which the one called "default" counts.
std::string config_template(const Json& config) {
  const auto at = config.find("chat_template");
  if (at == config.end() || !at->is_array()) return config_text(config, "chat_template");
  for (const Json& child : *at)
    if (child.is_object() && config_text(child, "name") == "default") return config_text(child, "template");
  return {};
}

void read_config(std::string_view text, Tokenizer::Impl& impl) {
  if (text.empty()) {
    // What the families without a configuration file use.
    impl.bos = impl.prefix.empty() ? id_of(impl, "<|endoftext|>") : std::optional<int>(impl.prefix[0]);
    impl.eos = id_of(impl, "<|endoftext|>");
    return;
  }
  const Json config = parse_json(text, "tokenizer_config.json");
  if (!config.is_object()) throw Error(ErrorKind::kCorrupt, "tokenizer_config.json: not an object");
  impl.bos = config_token(config, "bos_token", impl);
  impl.eos = config_token(config, "eos_token", impl);
  impl.pad = config_token(config, "pad_token", impl);
  if (!impl.unk) impl.unk = config_token(config, "unk_token", impl);
  impl.chat_template = config_template(config);
}

}  // namespace

Tokenizer Tokenizer::from_huggingface(std::string_view tokenizer_json, std::string_view tokenizer_config) {
  simdjson::dom::parser parser;
  const Node root = Node::from(parse(parser, tokenizer_json, "tokenizer.json"), "tokenizer.json");
  TokenizerBuilder builder;
  read_model(root, builder);
  read_normalizer(root, *builder.impl);
  read_pre_tokenizer(root, *builder.impl);
  read_post_processor(root, builder);
  read_config(tokenizer_config, *builder.impl);
  return builder.finish();
}

}  // namespace microtome
