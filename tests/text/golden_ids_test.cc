#include <filesystem>

#include "golden.h"
#include "microtome/base/error.h"
#include "microtome/formats/checkpoint.h"
#include "microtome/text/stream_decoder.h"

namespace microtome {
namespace {

class GoldenIds : public testing::TestWithParam<const char*> {};

TEST_P(GoldenIds, equal_the_references_on_every_line_of_the_corpus) {
  expect_golden_ids(golden_tokenizer(GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, GoldenIds, testing::Values("gpt2", "neox", "starcoder", "llama3", "qwen2", "flags"),
                         [](const auto& info) { return std::string(info.param); });

// Without a normalizer, and with a token for every byte.
TEST(RoundTrip, every_line_of_the_corpus_comes_back) {
  for (const char* name : {"gpt2", "starcoder"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    for (const std::string& line : corpus()) ASSERT_EQ(tokenizer.decode(tokenizer.encode(line)), line) << name;
  }
}

class Smollm2 : public testing::Test {
 protected:
  void SetUp() override {
    const auto path = data_home() / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "no model at " << path << "; `microtome pull smollm2-135m` fetches it";
    const Checkpoint checkpoint = open_checkpoint(path);
    const Metadata& m = checkpoint.metadata();
    BpeSource source;
    source.tokens = m.strings("tokenizer.ggml.tokens").value();
    source.merges = m.strings("tokenizer.ggml.merges").value();
    source.token_types = m.i32s("tokenizer.ggml.token_type").value();
    source.pre = m.string("tokenizer.ggml.pre").value();
    source.bos = static_cast<int>(m.u64("tokenizer.ggml.bos_token_id").value());
    source.eos = static_cast<int>(m.u64("tokenizer.ggml.eos_token_id").value());
    tokenizer_.emplace(Tokenizer::from_bpe(source));
  }

  std::optional<Tokenizer> tokenizer_;
};

TEST_F(Smollm2, ids_equal_the_references_on_every_line_of_the_corpus) { expect_golden_ids(*tokenizer_, "smollm2"); }

TEST_F(Smollm2, lines_come_back_but_for_the_bytes_its_vocabulary_lacks) {
  const std::vector<uint8_t> missing = tokenizer_->missing_bytes();
  int unchanged = 0;
  for (const std::string& line : corpus()) {
    std::string expected;
    for (const char c : line) {
      if (!std::binary_search(missing.begin(), missing.end(), static_cast<uint8_t>(c))) expected += c;
    }
    ASSERT_EQ(tokenizer_->decode(tokenizer_->encode(line)), expected);
    unchanged += expected == line;
  }
  EXPECT_GE(unchanged, 5000);
}

TEST_F(Smollm2, knows_its_own_tokens) {
  EXPECT_EQ(tokenizer_->vocab_size(), 49152);
  EXPECT_EQ(tokenizer_->bos(), 1);
  EXPECT_EQ(tokenizer_->eos(), 2);
  EXPECT_FALSE(tokenizer_->adds_bos());
  EXPECT_EQ(tokenizer_->end_of_turn(), (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(tokenizer_->find("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer_->encode("The capital of Portugal is the city of").size(), 8u);
}

}  // namespace
}  // namespace microtome
