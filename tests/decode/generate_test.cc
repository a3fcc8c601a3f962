// Generation on a small model with a tokenizer of its own, whose tokens hold parts of words and of characters.
#include "microtome/decode/generate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "microtome/base/error.h"
#include "microtome/base/json.h"
#include "microtome/base/utf8.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

// 96 tokens: the end of text, two letters, four bytes of "é" and "è", and words made of the letters.
std::string tokenizer_json() {
  Json vocab = Json::object();
  vocab["<|endoftext|>"] = 0;
  const auto add = [&](const std::string& text) { vocab[text] = vocab.size(); };
  for (const char* text : {"a", "b", "Ã", "©", "¨", "Ġ"}) add(text);
  for (int n = 0; vocab.size() < 96; ++n) {
    std::string word;
    for (int rest = n + 4; rest > 1; rest /= 2) word += rest % 2 ? 'a' : 'b';
    add(word);
  }
  Json added = {{{"id", 0},
                 {"content", "<|endoftext|>"},
                 {"single_word", false},
                 {"lstrip", false},
                 {"rstrip", false},
                 {"normalized", false},
                 {"special", true}}};
  return dump_json(
      {{"version", "1.0"},
       {"added_tokens", added},
       {"normalizer", nullptr},
       {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
       {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
       {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}});
}

class Generation : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const fs::path golden = fs::path(MICROTOME_TEST_DATA) / "golden/models/llama_gqa_tied";
    const fs::path folder = fs::temp_directory_path() / fmt::format("microtome-test-decode-{}", ::getpid());
    fs::create_directories(folder);
    for (const char* name : {"config.json", "model.safetensors"})
      fs::copy_file(golden / name, folder / name, fs::copy_options::overwrite_existing);
    std::ofstream(folder / "tokenizer.json") << tokenizer_json();
    with_text = Model::load(folder);
    without_text = Model::load(golden);
    fs::remove_all(folder);
  }
  static void TearDownTestSuite() {
    with_text.reset();
    without_text.reset();
  }

  static Generated run(const GenerateOptions& options, const std::function<bool(const Step&)>& on_step = {},
                       const Model& model = *with_text) {
    Plan plan;
    return generate(model, kPrompt, plan, options, on_step);
  }
  // Varied text: many short words, and characters in two tokens.
  static GenerateOptions varied(uint64_t seed, int64_t max_tokens = 24) {
    GenerateOptions options;
    options.max_tokens = max_tokens;
    options.sampling = {
        .temperature = 3, .seed = seed, .logit_bias = {{0, -100}, {3, 9}, {4, 9}, {5, 8}, {1, 8}, {2, 8}, {9, 8}, {12, 8}}};
    return options;
  }

  static const std::vector<int32_t> kPrompt;
  static std::shared_ptr<const Model> with_text, without_text;
};
const std::vector<int32_t> Generation::kPrompt = {5, 17, 80, 33, 2};
std::shared_ptr<const Model> Generation::with_text, Generation::without_text;

TEST_F(Generation, text_is_that_of_the_tokens_and_arrives_in_whole_characters) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    std::string joined;
    std::set<size_t> ends;
    const Generated g = run(varied(seed), [&](const Step& s) {
      joined += s.text;
      ends.insert(joined.size());
      return true;
    });
    EXPECT_EQ(std::ssize(g.ids), 24);
    EXPECT_EQ(g.finish, FinishReason::kLength);
    EXPECT_EQ(g.text, with_text->tokenizer()->decode(g.ids));
    EXPECT_EQ(joined, g.text);
    EXPECT_LT(ends.size(), 24u) << "no step held half a character back: the test lost its point";
    for (size_t at = 0; at < joined.size(); at += std::max<size_t>(1, utf8_length(std::string_view(joined).substr(at))))
      ends.erase(at);
    EXPECT_EQ(ends, std::set<size_t>{joined.size()}) << "a step ended within a character";
  }
}

// Every stretch of the text, within a token or across several, as a stop string.
TEST_F(Generation, a_stop_string_ends_the_text_before_it_wherever_tokens_meet) {
  const std::string text = run(varied(1)).text;
  ASSERT_GE(text.size(), 30u);
  int stopped_early = 0;
  for (size_t length : {1, 2, 3, 5, 9}) {
    for (size_t at = 0; at + length <= text.size(); at += 2) {
      GenerateOptions options = varied(1);
      const std::string stop = text.substr(at, length);
      if (!utf8_valid(stop)) continue;
      options.stop = {"never seen", stop, ""};
      std::string joined;
      const Generated g = run(options, [&](const Step& s) { return joined += s.text, true; });
      EXPECT_EQ(g.text, text.substr(0, text.find(stop))) << stop;
      EXPECT_EQ(joined, g.text) << stop;
      EXPECT_EQ(g.finish, FinishReason::kStop);
      stopped_early += std::ssize(g.ids) < 24;
    }
  }
  EXPECT_GT(stopped_early, 20);
}

TEST_F(Generation, text_held_back_for_a_stop_string_that_does_not_come_is_shown_at_the_end) {
  const std::string text = run(varied(2)).text;
  GenerateOptions options = varied(2);
  options.stop = {text.substr(text.size() - 4) + "x", text + "y"};
  EXPECT_EQ(run(options).text, text);
}

TEST_F(Generation, the_cache_changes_no_bit_and_neither_does_the_chunk) {
  std::vector<std::vector<float>> logits;
  std::vector<std::vector<int32_t>> ids;
  for (const auto& [cache, chunk] : {std::pair{true, 512}, {false, 512}, {true, 1}, {true, 3}, {true, 0}}) {
    GenerateOptions options = varied(3);
    options.use_cache = cache;
    options.prefill_chunk = chunk;
    logits.emplace_back();
    ids.push_back(run(options, [&](const Step& s) {
                    return logits.back().insert(logits.back().end(), s.logits.begin(), s.logits.end()), true;
                  }).ids);
  }
  for (size_t i = 1; i < ids.size(); ++i) {
    EXPECT_EQ(ids[i], ids[0]) << i;
    EXPECT_EQ(logits[i], logits[0]) << i;
  }
}

// Where a slice counts from the prompt's end or takes generated tokens alone, and means over the prompt, whatever the chunk.
TEST_F(Generation, edits_mean_the_same_with_and_without_cache) {
  const Site site{SiteKind::kMlpOut, 1};
  const Edit edits[] = {{.site = site, .where = {.generated = true}, .op = EditOp::kScale, .factor = -3},
                        {.site = site, .where = {.pos = Range{-2, -1}}, .op = EditOp::kScale, .factor = -30},
                        {.site = site, .op = EditOp::kMean}};
  const auto logits_under = [&](const Edit* edit, bool cache, int64_t chunk) {
    Plan plan;
    if (edit) {
      Edit fresh = *edit;
      fresh.mean = std::make_shared<std::vector<double>>();
      plan.edit(fresh);
    }
    GenerateOptions options = varied(10, 8);
    options.use_cache = cache;
    options.prefill_chunk = chunk;
    std::vector<float> logits;
    generate(*with_text, kPrompt, plan, options,
             [&](const Step& s) { return logits.insert(logits.end(), s.logits.begin(), s.logits.end()), true; });
    return logits;
  };
  const std::vector<float> plain = logits_under(nullptr, true, 512);
  for (const Edit& edit : edits) {
    const std::vector<float> expected = logits_under(&edit, true, 512);
    EXPECT_NE(expected, plain);
    EXPECT_EQ(logits_under(&edit, true, 2), expected);
    EXPECT_EQ(logits_under(&edit, false, 512), expected);
  }
}

TEST_F(Generation, ends_with_the_token_that_ends_the_answer_and_shows_nothing_of_it) {
  GenerateOptions options = varied(4);
  options.sampling.logit_bias = {{0, 100}};
  options.sampling.temperature = 0;
  const Generated g = run(options);
  EXPECT_EQ(g.ids, (std::vector<int32_t>{0}));
  EXPECT_EQ(g.finish, FinishReason::kStop);
  EXPECT_EQ(g.text, "");
  options.stop_at_end_of_turn = false;
  EXPECT_EQ(run(options).ids, std::vector<int32_t>(24, 0));
}

TEST_F(Generation, stops_at_the_number_of_tokens_or_where_the_context_is_full) {
  EXPECT_EQ(std::ssize(run(varied(5, 7)).ids), 7);
  const Generated none = run(varied(5, 0));
  EXPECT_TRUE(none.ids.empty() && none.text.empty() && none.finish == FinishReason::kLength);
  const int64_t context = with_text->config().context;
  EXPECT_EQ(std::ssize(run(varied(5, 1000)).ids), context - std::ssize(kPrompt));
  Plan plan;
  EXPECT_EQ(std::ssize(generate(*with_text, std::vector<int32_t>(context - 1, 3), plan, varied(5)).ids), 1);
}

TEST_F(Generation, what_cannot_be_generated_from_is_refused) {
  Plan plan;
  EXPECT_THROW(generate(*with_text, {}, plan, varied(6)), Error);
  EXPECT_THROW(generate(*with_text, std::vector<int32_t>(with_text->config().context, 3), plan, varied(6)), Error);
  EXPECT_THROW(generate(*with_text, {96}, plan, varied(6)), Error);
  EXPECT_THROW(generate(*with_text, {-1}, plan, varied(6)), Error);
  EXPECT_THROW(run(varied(6, -1)), Error);
}

TEST_F(Generation, a_step_may_end_it) {
  const Generated whole = run(varied(7));
  const Generated g = run(varied(7), [](const Step& s) { return s.index < 3; });
  EXPECT_EQ(g.finish, FinishReason::kCancelled);
  EXPECT_EQ(g.ids, (std::vector<int32_t>(whole.ids.begin(), whole.ids.begin() + 4)));
}

TEST_F(Generation, cancellation_reaches_into_the_next_pass) {
  Progress progress;
  GenerateOptions options = varied(8);
  options.progress = &progress;
  int64_t steps = 0;
  try {
    run(options, [&](const Step& s) {
      steps = s.index + 1;
      if (steps == 3) progress.cancel();
      return true;
    });
    ADD_FAILURE() << "went on";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCancelled);
  }
  EXPECT_EQ(steps, 3);
}

TEST_F(Generation, works_on_ids_where_there_is_no_tokenizer) {
  const Generated g = run(varied(9), {}, *without_text);
  EXPECT_EQ(g.ids, run(varied(9)).ids);
  EXPECT_EQ(g.text, "");
}

}  // namespace
}  // namespace microtome
