// A tokenizer in which chosen words are single tokens, and a small random model that uses it.
//
//   auto model = tasks_support::model_with({" John", " Mary", "17", "43"});
//
// Every byte is a token; each word adds its beginnings, merged from left to right. Words of letters begin with a space, so that
// no merge of one word reaches into another.
#pragma once

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "../formats/temp_folder.h"
#include "microtome/base/json.h"
#include "microtome/base/rng.h"
#include "microtome/model/model.h"

namespace microtome::tasks_support {

// GPT-2's byte alphabet for ASCII: printable bytes stand for themselves, others move up from 256.
inline std::string written(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ') out += "\xC4\xA0";        // Ġ
    else if (c == '\n') out += "\xC4\x8A";  // Ċ
    else out += c;
  }
  return out;
}

inline std::string tokenizer_json(const std::vector<std::string>& words) {
  Json vocab = Json::object(), merges = Json::array();
  const auto add = [&](const std::string& token) {
    if (!vocab.contains(token)) vocab[token] = vocab.size();
  };
  add(written("\n"));
  for (char c = ' '; c < 127; ++c) add(written(std::string(1, c)));
  std::set<std::string> seen;
  for (const std::string& w : words)
    for (size_t n = 2; n <= w.size(); ++n) {
      if (!seen.insert(w.substr(0, n)).second) continue;
      add(written(w.substr(0, n)));
      merges.push_back(written(w.substr(0, n - 1)) + " " + written(w.substr(n - 1, 1)));
    }
  const Json level{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return dump_json({{"version", "1.0"},
                    {"added_tokens", Json::array()},
                    {"normalizer", nullptr},
                    {"pre_tokenizer", level},
                    {"post_processor", nullptr},
                    {"decoder", level},
                    {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}});
}

// Attention-only, two layers, random weights. Without words it has no tokenizer.
inline std::shared_ptr<const Model> model_with(const std::vector<std::string>& words, int64_t vocab = 3000,
                                               int64_t context = 128) {
  constexpr int64_t kWidth = 16, kHeads = 2, kHead = 8;
  const Philox rng(3, "tasks model");
  uint64_t drawn = 0;
  std::string data;
  Json header = Json::object();
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    int64_t n = 1;
    for (const int64_t s : shape) n *= s;
    const size_t begin = data.size();
    for (int64_t i = 0; i < n; ++i) {
      const auto x = static_cast<float>(0.3 * rng.normal(drawn++));
      data.append(reinterpret_cast<const char*>(&x), sizeof x);
    }
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  };
  add("embed.W_E", {vocab, kWidth});
  add("pos_embed.W_pos", {context, kWidth});
  add("unembed.W_U", {kWidth, vocab});
  for (int l = 0; l < 2; ++l)
    for (const char* name : {"W_Q", "W_K", "W_V", "W_O"}) {
      const bool out = std::string_view(name) == "W_O";
      add(fmt::format("blocks.{}.attn.{}", l, name), {kHeads, out ? kHead : kWidth, out ? kWidth : kHead});
    }
  TempFolder folder;
  folder.write("config.json", dump_json({{"model_type", "attn_only"},
                                         {"n_layers", 2},
                                         {"d_model", kWidth},
                                         {"n_heads", kHeads},
                                         {"d_head", kHead},
                                         {"vocab", vocab},
                                         {"context", context},
                                         {"positions", "standard"}}));
  const std::string text = dump_json(header);
  const uint64_t length = text.size();
  folder.write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data);
  if (!words.empty()) folder.write("tokenizer.json", tokenizer_json(words));
  return Model::load(folder.path());
}

// Words that all tasks need.
inline std::vector<std::string> task_words() {
  std::vector<std::string> out;
  for (const char* w :
       {"John",   "Mary",   "Tom",      "James",   "Dan",       "Sid",      "Martin", "Amy",      "David",  "Paul",
        "Peter",  "Anna",   "Sarah",    "Lisa",    "he",        "she",      "Lisbon", "Madrid",   "Paris",  "Berlin",
        "Rome",   "Vienna", "Warsaw",   "Moscow",  "Portugal",  "Spain",    "France", "Germany",  "Italy",  "Austria",
        "Poland", "Russia", "Monday",   "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "war",
        "siege",  "plague", "campaign", "first",   "files",     "page",     "names",  "size",     "read",   "old",
        "load",   "file",   "last",     "port",    "image",     "text",     "user",   "value",    "key",    "group",
        "sector", "gap",    "tree",     "mine",    "oil",       "column",   "piece",  "crime",    "red",    "blue",
        "green",  "yellow", "pen",      "cup",     "book",      "ball",     "went",   "gave",     "shops",  "park"})
    out.push_back(std::string(" ") + w);
  return out;
}

}  // namespace microtome::tasks_support
