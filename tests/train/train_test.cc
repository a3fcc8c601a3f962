// What every trainer stands on: the split of texts, the order of windows, state on disk, the optimiser.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "../formats/malformed.h"
#include "../formats/temp_folder.h"
#include "microtome/train/documents.h"
#include "microtome/train/optimizer.h"
#include "microtome/train/state_file.h"
#include "microtome/train/token_cursor.h"

namespace microtome {
namespace {

using Texts = std::vector<std::string>;

TEST(Documents, are_cut_at_end_of_text_lines_and_read_from_json_lines) {
  TempFolder folder;
  folder.write("a.txt", "one\ntwo\n<|endoftext|>\nthree\n<|endoftext|>\n  \n");
  folder.write("b.jsonl", "{\"text\": \"four\"}\n\n{\"id\": 1, \"text\": \"five\"}\n");
  folder.write("notes.md", "not read");
  Texts all = read_documents(folder.path(), Split::kTrain);
  const Texts heldout = read_documents(folder.path(), Split::kHeldout);
  EXPECT_EQ(heldout.size(), 1u);
  all.insert(all.end(), heldout.begin(), heldout.end());
  EXPECT_EQ(std::multiset<std::string>(all.begin(), all.end()),
            (std::multiset<std::string>{"one\ntwo\n", "three\n", "four", "five"}));
  folder.write("c.jsonl", "{\"txt\": 1}\n");
  expect_error(ErrorKind::kCorrupt, "c.jsonl line 1", [&] { read_documents(folder.path(), Split::kTrain); });
  expect_error(ErrorKind::kNotFound, "no such text", [&] { read_documents(folder / "none", Split::kTrain); });
}

TEST(Documents, a_folder_with_parts_of_its_own_is_split_by_them) {
  TempFolder folder;
  folder.write("train.txt", "a\n<|endoftext|>\nb");
  folder.write("heldout.txt", "c");
  EXPECT_EQ(read_documents(folder.path(), Split::kTrain), (Texts{"a\n", "b"}));
  EXPECT_EQ(read_documents(folder.path(), Split::kHeldout), (Texts{"c"}));
}

TEST(Documents, the_held_out_tenth_does_not_depend_on_their_order) {
  Texts texts;
  for (int i = 0; i < 50; ++i) texts.push_back("document " + std::to_string(i));
  const auto held = [](Texts t) {
    t = split_documents(std::move(t), Split::kHeldout);
    return std::set<std::string>(t.begin(), t.end());
  };
  const auto first = held(texts);
  EXPECT_EQ(first.size(), 5u);
  EXPECT_EQ(split_documents(texts, Split::kTrain).size(), 45u);
  for (const std::string& t : split_documents(texts, Split::kTrain)) EXPECT_FALSE(first.contains(t));
  std::reverse(texts.begin(), texts.end());
  EXPECT_EQ(held(texts), first);
  const Texts one{"some words that belong to a single document"};
  EXPECT_EQ(split_documents(one, Split::kTrain)[0] + split_documents(one, Split::kHeldout)[0], one[0]);
}

std::vector<std::vector<int32_t>> numbered() { return {{0, 1, 2, 3, 4, 5, 6}, {10, 11, 12}, {20}, {30, 31, 32, 33}}; }

TEST(TokenCursor, shows_every_window_once_an_epoch_in_an_order_of_its_own) {
  TokenCursor cursor(numbered(), 2, 5);
  ASSERT_EQ(cursor.windows(), 6);
  std::vector<std::vector<int32_t>> first, second;
  for (int i = 0; i < 6; ++i) first.push_back(cursor.next());
  for (int i = 0; i < 6; ++i) second.push_back(cursor.next());
  EXPECT_NE(first, second);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, (std::vector<std::vector<int32_t>>{{0, 1}, {2, 3}, {4, 5}, {10, 11}, {30, 31}, {32, 33}}));
  EXPECT_EQ(first, second);
}

TEST(TokenCursor, can_be_taken_up_anywhere) {
  TokenCursor a(numbered(), 2, 5), b(numbered(), 2, 5), other(numbered(), 2, 6);
  std::vector<std::vector<int32_t>> windows, others;
  for (int i = 0; i < 20; ++i) windows.push_back(a.next()), others.push_back(other.next());
  EXPECT_NE(windows, others);
  for (const int64_t at : {13, 2, 19, 0}) {
    b.seek(at);
    EXPECT_EQ(b.next(), windows[at]);
    EXPECT_EQ(b.position(), at + 1);
  }
}

TEST(TokenCursor, puts_the_first_token_before_every_window) {
  TokenCursor cursor({{1, 2, 3, 4}}, 3, 0, 99);
  std::set<std::vector<int32_t>> seen{cursor.next(), cursor.next()};
  EXPECT_EQ(seen, (std::set<std::vector<int32_t>>{{99, 1, 2}, {99, 3, 4}}));
  expect_error(ErrorKind::kInvalidArgument, "none of the 1 documents has 9 tokens", [] { TokenCursor({{1, 2}}, 9, 0); });
}

TEST(StateFile, gives_back_the_same_bits) {
  TempFolder folder;
  const std::vector<double> doubles{0.1, -1e-300, 3};
  const std::vector<float> floats{0.1f, -2};
  StateWriter out;
  out.add("d", std::span(doubles));
  out.add("f", std::span(floats));
  out.values["step"] = 17;
  out.save(folder / "state");
  const StateReader in(folder / "state");
  std::vector<double> d(3);
  std::vector<float> f(2), wrong(3);
  in.read("d", std::span(d));
  in.read("f", std::span(f));
  EXPECT_EQ(d, doubles);
  EXPECT_EQ(f, floats);
  EXPECT_EQ(in.count("step"), 17);
  expect_error(ErrorKind::kCorrupt, "another kind of run", [&] { in.read("g", std::span(f)); });
  expect_error(ErrorKind::kCorrupt, "expected F32 [3]", [&] { in.read("f", std::span(wrong)); });
  expect_error(ErrorKind::kCorrupt, "epoch", [&] { in.count("epoch"); });
}

TEST(StateFile, refuses_numbers_below_zero_values_that_are_not_finite_and_files_of_another_kind) {
  TempFolder folder;
  const std::vector<float> floats{1, std::numeric_limits<float>::quiet_NaN()};
  const std::vector<double> doubles{std::numeric_limits<double>::infinity()};
  StateWriter out;
  out.add("f", std::span(floats));
  out.add("d", std::span(doubles));
  out.values["step"] = -5;
  out.values["wide"] = ~uint64_t{0};
  out.save(folder / "state");
  const StateReader in(folder / "state");
  std::vector<float> f(2);
  std::vector<double> d(1);
  expect_error(ErrorKind::kCorrupt, "state: \"f\" holds a value that is not finite", [&] { in.read("f", std::span(f)); });
  expect_error(ErrorKind::kCorrupt, "not finite", [&] { in.read("d", std::span(d)); });
  expect_error(ErrorKind::kCorrupt, "\"step\" is -5", [&] { in.count("step"); });
  expect_error(ErrorKind::kCorrupt, "\"wide\"", [&] { in.count("wide"); });

  const std::vector<CheckpointTensor> column{{"f", DType::kF32, {2, 1}, std::as_bytes(std::span(f))}};
  const auto write = [&](const char* format, const char* values) {
    const std::vector<std::pair<std::string, std::string>> texts{{"format", format}, {"values", values}};
    write_safetensors(folder / "state", column, texts);
  };
  write("microtome state", "{}");
  expect_error(ErrorKind::kCorrupt, "[2, 1]", [&] { StateReader(folder / "state").read("f", std::span(f)); });
  write("microtome lens", "{}");
  expect_error(ErrorKind::kCorrupt, "is no state", [&] { StateReader(folder / "state"); });
  write("microtome state", "[]");
  expect_error(ErrorKind::kCorrupt, "is no state", [&] { StateReader(folder / "state"); });
}

// Values of torch.optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), gradient 1, -2 then 0.5, 0.5.
TEST(Sgd, takes_the_steps_that_pytorch_takes) {
  std::vector<float> p{1, 2}, m{0, 0};
  const SgdOptions o{.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.01};
  sgd_step(o, std::vector<float>{1, -2}, m, p);
  EXPECT_NEAR(p[0], 1 - 0.1 * 1.9 * 1.01, 1e-6);
  EXPECT_NEAR(p[1], 2 + 0.1 * 1.9 * 1.98, 1e-6);
  const double g = 0.5 + 0.01 * p[0], buffer = 0.9 * 1.01 + g, before = p[0];
  sgd_step(o, std::vector<float>{0.5f, 0.5f}, m, p);
  EXPECT_NEAR(p[0], before - 0.1 * (g + 0.9 * buffer), 1e-6);
  EXPECT_NEAR(m[0], buffer, 1e-6);
}

TEST(Schedules, fall_and_clip) {
  EXPECT_EQ(linear_decay(0, 4), 1);
  EXPECT_EQ(linear_decay(3, 4), 0.25);
  EXPECT_EQ(clip_factor(0.5, 1), 1);
  EXPECT_EQ(clip_factor(4, 1), 0.25);
  EXPECT_EQ(squared_norm(std::vector<float>{3, 4}), 25);
}

}  // namespace
}  // namespace microtome
