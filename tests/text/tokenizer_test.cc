#include "microtome/text/tokenizer.h"

#include "draws.h"
#include "golden.h"
#include "microtome/base/error.h"
#include "microtome/base/utf8.h"
#include "microtome/text/stream_decoder.h"

namespace microtome {
namespace {

using Ids = std::vector<int32_t>;

Tokenizer gpt2() { return golden_tokenizer("gpt2"); }

template <class F>
void expect_error(ErrorKind kind, const std::string& part, F&& f) {
  try {
    f();
    FAIL() << "no error; expected one with " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

TEST(Tokenizer, every_byte_comes_back) {
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  const Tokenizer tokenizer = gpt2();
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(all)), all);
  EXPECT_TRUE(tokenizer.missing_bytes().empty());
  Draws draws(5);
  for (int round = 0; round < 500; ++round) {
    const std::string text = draws.text(all, draws.below(60));
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(Tokenizer, a_long_line_without_spaces_encodes_like_its_parts) {
  // All merges of the small vocabulary are short, so a run of one letter is the same token over and over.
  const Tokenizer tokenizer = gpt2();
  const std::string line(1 << 20, 'z');
  const Ids ids = tokenizer.encode(line);
  EXPECT_EQ(tokenizer.decode(ids), line);
}

TEST(Tokenizer, control_tokens_are_text_where_they_are_not_wanted) {
  const Tokenizer tokenizer = gpt2();
  const int end = tokenizer.find("<|endoftext|>").value();
  EXPECT_TRUE(tokenizer.is_special(end));
  const Ids with = tokenizer.encode("a<|endoftext|>b");
  EXPECT_EQ(with.size(), 3u);
  EXPECT_EQ(with[1], end);
  const Ids without = tokenizer.encode("a<|endoftext|>b", {.specials = false});
  EXPECT_EQ(std::count(without.begin(), without.end(), end), 0);
  EXPECT_EQ(tokenizer.decode(without), "a<|endoftext|>b");
  EXPECT_EQ(tokenizer.decode(with, true), "ab");
}

TEST(Tokenizer, added_tokens_that_are_no_control_tokens_are_always_recognised) {
  const Tokenizer tokenizer = golden_tokenizer("neox");
  const int spaces = tokenizer.find(std::string(24, ' ')).value();
  EXPECT_EQ(tokenizer.encode(std::string(24, ' '), {.specials = false}), Ids{spaces});
  EXPECT_FALSE(tokenizer.is_special(spaces));
}

TEST(Tokenizer, no_control_token_touches_what_was_typed) {
  const Tokenizer tokenizer = golden_tokenizer("starcoder");
  const int end = tokenizer.find("<|im_end|>").value();
  const auto count = [&](const std::vector<TextSpan>& spans) {
    const Ids ids = tokenizer.encode(spans);
    EXPECT_EQ(tokenizer.decode(ids), [&] {
      std::string all;
      for (const TextSpan& s : spans) all += s.text;
      return all;
    }());
    return std::count(ids.begin(), ids.end(), end);
  };
  EXPECT_EQ(count({{"a<|im_end|>", false}}), 1);
  EXPECT_EQ(count({{"a<|im_end|>", true}}), 0);
  EXPECT_EQ(count({{"hi<|im_", true}, {"end|>", false}}), 0);
  EXPECT_EQ(count({{"<|im_", false}, {"end|>", true}}), 0);
  EXPECT_EQ(count({{"<|im_", false}, {"e", true}, {"nd|>", false}}), 0);
  EXPECT_EQ(count({{"<|im_", false}, {"end|>", false}}), 1);
  EXPECT_EQ(count({{"<|im_end", true}, {"<|im_end|>", false}, {"|>", true}}), 1);
}

TEST(Tokenizer, spans_without_control_tokens_encode_as_the_joined_text) {
  for (const char* name : {"starcoder", "neox"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    const std::vector<std::string> lines = corpus();
    for (size_t i = 6; i < 2000; i += 7) {
      const size_t cut = lines[i].size() / 2;
      if (!utf8_valid(lines[i].substr(0, cut))) continue;
      const std::vector<TextSpan> spans = {{lines[i].substr(0, cut), false}, {lines[i].substr(cut), true}};
      ASSERT_EQ(tokenizer.encode(spans), tokenizer.encode(lines[i])) << name << ", line " << i;
    }
  }
}

TEST(Tokenizer, begins_the_text_as_configured_or_as_asked) {
  const Tokenizer llama = golden_tokenizer("llama3");
  const int bos = llama.find("<|begin_of_text|>").value();
  EXPECT_TRUE(llama.adds_bos());
  EXPECT_EQ(llama.encode("a").front(), bos);
  EXPECT_EQ(llama.encode("a", {.add_bos = false}).size(), 1u);
  EXPECT_EQ(llama.encode(""), Ids{bos});
  const Tokenizer plain = gpt2();
  EXPECT_FALSE(plain.adds_bos());
  EXPECT_EQ(plain.encode("a", {.add_bos = true}).front(), plain.bos());
  EXPECT_EQ(plain.encode("a", {.add_eos = true}).back(), plain.eos());
}

TEST(Tokenizer, reads_names_and_the_template_from_the_configuration) {
  const Tokenizer t = Tokenizer::from_huggingface(golden_file("starcoder.tokenizer.json"), R"({
      "model_max_length": 1000000000000000019884624838656,
      "bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>", "pad_token": null,
      "chat_template": [{"name": "rag", "template": "no"}, {"name": "default", "template": "yes"}]})");
  EXPECT_EQ(t.bos(), t.find("<|im_start|>"));
  EXPECT_EQ(t.eos(), t.find("<|im_end|>"));
  EXPECT_EQ(t.pad(), std::nullopt);
  EXPECT_EQ(t.chat_template(), "yes");
  EXPECT_TRUE(t.is_end_of_turn(*t.find("<|im_end|>")));
  EXPECT_FALSE(t.is_end_of_turn(*t.find("a")));
}

TEST(Tokenizer, shows_bytes_that_are_no_character_in_hex) {
  const Tokenizer tokenizer = gpt2();
  EXPECT_EQ(tokenizer.token_text(tokenizer.encode("\xe2").front()), "<0xE2>");
  EXPECT_EQ(tokenizer.token_text(tokenizer.encode(" the").front()), " the");
}

TEST(Tokenizer, unnamed_ids_are_valid_and_empty_others_are_errors) {
  Tokenizer tokenizer = gpt2();
  const int size = tokenizer.vocab_size();
  expect_error(ErrorKind::kInvalidArgument, "not in the vocabulary", [&] { tokenizer.token_bytes(size); });
  expect_error(ErrorKind::kInvalidArgument, "token id -1", [&] { tokenizer.decode(Ids{-1}); });
  tokenizer.extend_to(size + 7);
  EXPECT_EQ(tokenizer.vocab_size(), size + 7);
  EXPECT_EQ(tokenizer.token_bytes(size), "");
  EXPECT_EQ(tokenizer.token_text(size), "<unused " + std::to_string(size) + ">");
  tokenizer.extend_to(1);
  EXPECT_EQ(tokenizer.vocab_size(), size + 7);
}

TEST(Tokenizer, from_bpe_equals_the_same_vocabulary_from_json) {
  const Json json = parse_json(golden_file("starcoder.tokenizer.json"), "starcoder");
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    if (tokens.size() <= id.get<size_t>()) tokens.resize(id.get<size_t>() + 1);
    tokens[id.get<size_t>()] = token;
  }
  types.assign(tokens.size(), 1);
  for (const Json& added : json["added_tokens"]) {
    const auto id = added["id"].get<size_t>();
    if (tokens.size() <= id) tokens.resize(id + 1), types.resize(id + 1);
    tokens[id] = added["content"].get<std::string>();
    types[id] = 3;
  }
  for (const Json& merge : json["model"]["merges"])
    merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  BpeSource source{.tokens = {tokens.begin(), tokens.end()}, .token_types = types, .merges = {merges.begin(), merges.end()}};
  source.pre = "starcoder";
  expect_golden_ids(Tokenizer::from_bpe(source), "starcoder");
}

TEST(Tokenizer, falls_back_on_byte_tokens) {
  BpeSource source{.tokens = {"a", "<0x0A>", "<0xE2>"}, .token_types = {1, 6, 6}};
  source.pre = "gpt-2";
  const Tokenizer tokenizer = Tokenizer::from_bpe(source);
  EXPECT_EQ(tokenizer.encode("a\n\xe2"), (Ids{0, 1, 2}));
  EXPECT_EQ(tokenizer.decode(Ids{1, 2}), "\n\xe2");
  const Tokenizer json = Tokenizer::from_huggingface(R"({"model": {"type": "BPE", "vocab": {"a": 0, "<0x0A>": 1}, "merges": [],
      "byte_fallback": true}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}})");
  EXPECT_EQ(json.encode("a\n"), (Ids{0, 1}));
  EXPECT_EQ(json.decode(Ids{1, 0}), "\na");
}

TEST(StreamDecoder, pieces_joined_are_the_text_and_never_split_a_character) {
  const Tokenizer tokenizer = gpt2();
  const std::vector<std::string> lines = corpus();
  for (size_t i = 0; i < lines.size(); i += 5) {
    StreamDecoder stream(tokenizer);
    std::string joined;
    for (const int32_t id : tokenizer.encode(lines[i])) {
      const std::string part = stream.push(id);
      ASSERT_TRUE(utf8_valid(part)) << lines[i];
      joined += part;
    }
    ASSERT_EQ(stream.flush(), "");
    ASSERT_EQ(joined, lines[i]);
  }
}

TEST(StreamDecoder, passes_bytes_that_are_no_character_on) {
  const Tokenizer tokenizer = gpt2();
  const std::string text = "\xff\xe2\x82z\xf0\x9f";
  StreamDecoder stream(tokenizer);
  std::string joined;
  for (const char c : text) joined += stream.push(tokenizer.find(std::string_view(&c, 1)).value());
  EXPECT_EQ(joined, "\xff\xe2\x82z");
  EXPECT_EQ(stream.flush(), "\xf0\x9f");
  EXPECT_EQ(stream.flush(), "");
}

// ---- files that cannot be used ----

std::string with_pre_tokenizer(const std::string& pre) {
  return R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, "pre_tokenizer": )" + pre + "}";
}

TEST(TokenizerJson, names_what_it_does_not_support) {
  const auto refuse = [](const std::string& part, const std::string& json) {
    expect_error(ErrorKind::kUnsupported, part, [&] { Tokenizer::from_huggingface(json); });
  };
  refuse("WordPiece", R"({"model": {"type": "WordPiece", "vocab": {}}})");
  refuse("Metaspace", with_pre_tokenizer(R"({"type": "Metaspace"})"));
  refuse("without ByteLevel", with_pre_tokenizer("null"));
  refuse("a(b)", with_pre_tokenizer(R"json({"type": "Split", "pattern": {"Regex": "a(b)"}, "behavior": "Isolated"})json"));
  refuse("Removed", with_pre_tokenizer(R"({"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed"})"));
  refuse("Lowercase", R"({"model": {"vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Lowercase"}})");
  refuse("dropout", R"({"model": {"vocab": {"a": 0}, "merges": [], "dropout": 0.1}})");
  refuse("BertProcessing", R"({"model": {"vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"},
                              "post_processor": {"type": "BertProcessing"}})");
}

TEST(TokenizerJson, refuses_malformed_files) {
  const auto refuse = [](const std::string& part, const std::string& json) {
    expect_error(ErrorKind::kCorrupt, part, [&] { Tokenizer::from_huggingface(json); });
  };
  refuse("not JSON", "");
  refuse("not JSON", "{\"model\"");
  refuse("not JSON", std::string(100, '['));
  refuse("not an object", "[]");
  refuse("\"model\" is missing", "{}");
  refuse("model.vocab is missing", R"({"model": {"type": "BPE"}})");
  refuse("has id -1", R"({"model": {"vocab": {"a": -1}}})");
  refuse("has id 99999999999", R"({"model": {"vocab": {"a": 99999999999}}})");
  refuse("no integer id", R"({"model": {"vocab": {"a": "b"}}})");
  refuse("merge 0", R"({"model": {"vocab": {"a": 0}, "merges": ["a b"]}})");
  refuse("merge 0", R"({"model": {"vocab": {"a": 0}, "merges": [["a"]]}})");
  refuse("no good id", R"({"model": {"vocab": {"a": 0}}, "added_tokens": [{"content": "x"}]})");
  const std::string good = golden_file("llama3.tokenizer.json");
  for (size_t length = 0; length < good.size(); length += 501) refuse("not JSON", good.substr(0, length));
}

TEST(TokenizerGguf, refuses_what_it_cannot_use) {
  BpeSource source{.tokens = {"a", "b"}, .merges = {"a b"}};
  source.pre = "gpt-2";
  expect_error(ErrorKind::kCorrupt, "merge 0 \"a b\"", [&] { Tokenizer::from_bpe(source); });
  source.merges = {"ab"};
  expect_error(ErrorKind::kCorrupt, "merge 0", [&] { Tokenizer::from_bpe(source); });
  source.merges = {""};
  expect_error(ErrorKind::kCorrupt, "merge 0", [&] { Tokenizer::from_bpe(source); });
  source.merges = {};
  source.bos = 2;
  expect_error(ErrorKind::kCorrupt, "bos is id 2", [&] { Tokenizer::from_bpe(source); });
  source.bos = {};
  source.token_types = {1};
  expect_error(ErrorKind::kCorrupt, "token_type has 1 entries", [&] { Tokenizer::from_bpe(source); });
  source.token_types = {};
  source.pre = "mystery";
  expect_error(ErrorKind::kUnsupported, "mystery", [&] { Tokenizer::from_bpe(source); });
  expect_error(ErrorKind::kCorrupt, "is empty", [&] { Tokenizer::from_bpe({}); });
}

}  // namespace
}  // namespace microtome
