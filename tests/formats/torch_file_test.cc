// .pt files: those that torch.save wrote (tests/formats/make_torch_data.py), our own, and hostile ones.
#include "microtome/formats/torch_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "malformed.h"
#include "microtome/base/rng.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/zip.h"
#include "temp_folder.h"

namespace microtome {
namespace {

std::filesystem::path data(const char* name) { return std::filesystem::path(MICROTOME_TEST_DATA) / "formats/data" / name; }

std::string content(const std::filesystem::path& file) {
  std::ostringstream out;
  out << std::ifstream(file, std::ios::binary).rdbuf();
  return out.str();
}

int64_t integer(const TorchValue* v) { return *v->as<int64_t>(); }

TEST(TorchFile, reads_a_published_lens) {
  const TorchValue file = read_torch(data("lens.pt"));
  const auto& j = *file.find("J")->as<TorchValue::Dict>();
  ASSERT_EQ(j.size(), 2u);
  EXPECT_EQ(integer(&j[1].first), 1);
  const auto& t = *j[1].second.as<TorchTensor>();
  EXPECT_EQ(t.dtype, DType::kF16);
  EXPECT_EQ(t.shape, (std::vector<int64_t>{3, 3}));
  for (int i = 0; i < 9; ++i) EXPECT_NEAR(t.floats()[i], i / 7.0 + 1, 1e-3);
  EXPECT_EQ(integer(file.find("n_prompts")), 100);
  EXPECT_EQ(file.find("source_layers")->as<TorchValue::List>()->size(), 2u);
  const TorchValue* metadata = file.find("metadata");
  EXPECT_EQ(*metadata->find("model")->as<std::string>(), "tiny");
  EXPECT_EQ(*metadata->find("lr")->as<double>(), 0.5);
  EXPECT_TRUE(*metadata->find("ok")->as<bool>());
  EXPECT_TRUE(metadata->find("none")->as<std::monostate>());
  EXPECT_EQ(integer(&(*metadata->find("t")->as<TorchValue::List>())[1]), -2);
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST(TorchFile, reads_views_in_their_own_order_and_every_float_type) {
  const TorchValue file = read_torch(data("views.pt"));
  const auto& view = *file.find("view")->as<TorchTensor>();
  EXPECT_EQ(view.shape, (std::vector<int64_t>{4, 3}));
  const std::vector<float> expected{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11};
  EXPECT_EQ(view.floats(), expected);
  EXPECT_EQ(file.find("bf")->as<TorchTensor>()->floats(), (std::vector<float>{1.5, -2}));
}

TEST(TorchFile, what_is_written_is_read_back) {
  TempFolder folder;
  const auto text = [](const char* s) { return TorchValue(std::string(s)); };
  TorchValue::Dict dict;
  dict.emplace_back(text("t"), TorchTensor::f32(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3}));
  dict.emplace_back(int64_t{-5}, TorchTensor::f16(std::vector<float>{0.5f, -2}, {2}));
  dict.emplace_back(text("list"),
                    TorchValue::List{TorchValue(), true, false, int64_t{1} << 40, int64_t{-1}, -0.25, text("héllo")});
  write_torch(folder / "a.pt", dict);
  const TorchValue back = read_torch(folder / "a.pt");
  EXPECT_EQ(back.find("t")->as<TorchTensor>()->floats(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  const auto& second = (*back.as<TorchValue::Dict>())[1];
  EXPECT_EQ(integer(&second.first), -5);
  EXPECT_EQ(second.second.as<TorchTensor>()->floats(), (std::vector<float>{0.5, -2}));
  const auto& list = *back.find("list")->as<TorchValue::List>();
  ASSERT_EQ(list.size(), 7u);
  EXPECT_TRUE(list[0].as<std::monostate>());
  EXPECT_FALSE(*list[2].as<bool>());
  EXPECT_EQ(integer(&list[3]), int64_t{1} << 40);
  EXPECT_EQ(integer(&list[4]), -1);
  EXPECT_EQ(*list[5].as<double>(), -0.25);
  EXPECT_EQ(*list[6].as<std::string>(), "héllo");
}

TEST(TorchFile, halves_are_rounded_to_nearest_even) {
  const std::vector<float> values{1 + 1.0f / 2048, 1 + 3.0f / 2048, 65519, 65520, 1e-8f, 3e-8f, 6.1e-5f, -0.0f, 1e30f};
  const std::vector<float> expected{1,
                                    1 + 4.0f / 2048,
                                    65504,
                                    std::numeric_limits<float>::infinity(),
                                    0,
                                    5.9604645e-8f,
                                    6.1035156e-5f - 0.0f,
                                    -0.0f,
                                    std::numeric_limits<float>::infinity()};
  const std::vector<float> halves = TorchTensor::f16(values, {9}).floats();
  for (size_t i = 0; i < values.size(); ++i) {
    if (i == 6) EXPECT_NEAR(halves[i], 6.1e-5f, 3.1e-8f);
    else EXPECT_EQ(halves[i], expected[i]) << values[i];
  }
  EXPECT_TRUE(std::signbit(halves[7]));
  EXPECT_TRUE(std::isnan(TorchTensor::f16(std::vector<float>{NAN}, {1}).floats()[0]));
}

// An archive around a pickle.
TorchValue run(const std::string& pickle, const std::string& storage = std::string(16, '\0'),
               const std::string& order = "little") {
  std::ostringstream out;
  ZipWriter zip(out);
  for (const auto& [name, bytes] :
       {std::pair<std::string, std::string>{"x/data.pkl", pickle}, {"x/byteorder", order}, {"x/data/0", storage}}) {
    zip.begin(name, bytes.size(), false);
    zip.write(as_byte_span(bytes));
    zip.end();
  }
  zip.finish();
  const std::string file = out.str();
  return parse_torch(as_byte_span(file), "f");
}

// A tensor of `elements` f32 in storage 0, as pickled.
std::string tensor(int elements, int offset, const std::string& shape, const std::string& stride) {
  const auto k = [](int n) { return std::string("J") + le<int32_t>(n); };
  return "ctorch._utils\n_rebuild_tensor_v2\n((X" + le<uint32_t>(7) + "storagectorch\nFloatStorage\nX" + le<uint32_t>(1) + "0X" +
         le<uint32_t>(3) + "cpu" + k(elements) + "tQ" + k(offset) + "(" + shape + "t(" + stride +
         "t\x89"
         "ccollections\nOrderedDict\n)RtR.";
}

TEST(TorchFile, hostile_pickles_are_refused) {
  const auto k = [](int n) { return std::string("J") + le<int32_t>(n); };
  EXPECT_EQ(run(tensor(4, 0, k(2) + k(2), k(2) + k(1))).as<TorchTensor>()->data.size(), 16u) << "the good one";
  const auto refused = [](ErrorKind kind, const std::string& part, const std::string& pickle) {
    SCOPED_TRACE(part);
    expect_error(kind, part, [&] { run(pickle); });
  };
  expect_error(ErrorKind::kUnsupported, "posix.system", [] { read_torch(data("evil.pt")); });
  expect_error(ErrorKind::kUnsupported, "two places", [] { read_torch(data("shared.pt")); });
  expect_error(ErrorKind::kUnsupported, "LongStorage", [] { read_torch(data("ints.pt")); });
  refused(ErrorKind::kUnsupported, "instruction 0x62", std::string("}b."));
  refused(ErrorKind::kUnsupported, "protocol 9", std::string("\x80\x09."));
  refused(ErrorKind::kCorrupt, "2 values", "]].");
  refused(ErrorKind::kCorrupt, "0 values", ".");
  refused(ErrorKind::kCorrupt, "cut short", "}");
  refused(ErrorKind::kCorrupt, "a value is missing", "(a.");
  refused(ErrorKind::kCorrupt, "a mark is missing", "]e.");
  refused(ErrorKind::kCorrupt, "no list", "}Na.");
  refused(ErrorKind::kCorrupt, "no dict", "]NNs.");
  refused(ErrorKind::kCorrupt, "without a value", "}(Nu.");
  refused(ErrorKind::kUnsupported, "keys", "}NNs.");
  refused(ErrorKind::kCorrupt, "a call", "N)R.");
  refused(ErrorKind::kUnsupported, "more than 32 deep", std::string(60, ']') + std::string(59, 'a') + ".");
  refused(ErrorKind::kCorrupt, "a text", "X" + le<uint32_t>(0xffffffff) + "a.");
  refused(ErrorKind::kCorrupt, "larger than its storage", tensor(4, 0, k(3) + k(2), k(2) + k(1)));
  refused(ErrorKind::kCorrupt, "larger than its storage", tensor(4, 0, k(2000000000) + k(2000000000), k(0) + k(0)));
  refused(ErrorKind::kCorrupt, "beyond its storage", tensor(4, 1, k(2) + k(2), k(2) + k(1)));
  refused(ErrorKind::kCorrupt, "beyond its storage", tensor(4, 0, k(2) + k(2), k(2000000000) + k(1)));
  refused(ErrorKind::kCorrupt, "whole number", tensor(4, -1, k(2), k(1)));
  refused(ErrorKind::kCorrupt, "whole number", tensor(4, 0, k(2), k(-1)));
  refused(ErrorKind::kCorrupt, "another length", tensor(5, 0, k(2), k(1)));
  refused(ErrorKind::kCorrupt, "another number of strides", tensor(4, 0, k(2), ""));
  refused(ErrorKind::kCorrupt, "empty", tensor(4, 0, k(0), k(1)));
  expect_error(ErrorKind::kUnsupported, "little-endian", [] { run("N.", "", "big"); });
}

TEST(TorchFile, cut_short_or_damaged_never_crashes) {
  const std::string good = content(data("lens.pt"));
  for (size_t n = 0; n < good.size(); n += 3)
    EXPECT_THROW(parse_torch(as_byte_span(std::string_view(good).substr(0, n)), "f"), Error) << n;
  const Philox rng(1, "damage");
  for (uint64_t i = 0; i < 3000; ++i) {
    std::string bad = good;
    for (uint64_t k = 0; k < 1 + i % 4; ++k)
      bad[rng.below(bad.size(), i, 2 * k)] = static_cast<char>(rng.below(256, i, 2 * k + 1));
    try {
      parse_torch(as_byte_span(bad), "f");
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace microtome
