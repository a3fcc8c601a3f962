// The corpus under tests/golden/text and what the reference tokenizers make of it; see README.md there.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "microtome/base/file.h"
#include "microtome/base/json.h"
#include "microtome/text/tokenizer.h"

namespace microtome {

inline std::string golden_file(const std::string& name) { return read_file(MICROTOME_TEST_DATA "/golden/text/" + name); }

inline std::vector<std::string> corpus() {
  std::vector<std::string> lines;
  const std::string text = golden_file("corpus.jsonl");
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(parse_json(std::string_view(text).substr(at, end - at), "corpus.jsonl").get<std::string>());
    at = end + 1;
  }
  return lines;
}

inline Tokenizer golden_tokenizer(const std::string& name) {
  return Tokenizer::from_huggingface(golden_file(name + ".tokenizer.json"));
}

// FNV-1a, 32 bits, over little-endian int32.
inline uint32_t hash_ids(const std::vector<int32_t>& ids) {
  uint32_t value = 0x811C9DC5;
  for (const int32_t id : ids) {
    for (int shift = 0; shift < 32; shift += 8) value = (value ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 0x01000193;
  }
  return value;
}

// Every line of the corpus gives the reference's ids; the first few that do not are shown.
inline void expect_golden_ids(const Tokenizer& tokenizer, const std::string& name) {
  const std::vector<std::string> lines = corpus();
  ASSERT_GE(lines.size(), 5000u);
  const std::string hashes = golden_file(name + ".hashes");
  ASSERT_EQ(hashes.size(), 4 * lines.size());
  const Json sample = parse_json(golden_file(name + ".ids.json"), name);
  int shown = 0;
  for (size_t i = 0; i < lines.size() && shown < 5; ++i) {
    const std::vector<int32_t> ids = tokenizer.encode(lines[i]);
    uint32_t expected;
    std::memcpy(&expected, hashes.data() + 4 * i, 4);
    if (hash_ids(ids) == expected) continue;
    ++shown;
    ADD_FAILURE() << name << ", line " << i << ": " << dump_json(Json(lines[i])) << "\n  ids " << dump_json(Json(ids));
  }
  for (const auto& [line, ids] : sample.items())
    EXPECT_EQ(tokenizer.encode(lines[std::stoul(line)]), ids.get<std::vector<int32_t>>()) << name << ", line " << line;
}

}  // namespace microtome
