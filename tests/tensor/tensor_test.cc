// Tensors: handles, views, slices, types; and the arena their memory comes from.
#include "microtome/tensor/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "microtome/base/error.h"

namespace microtome {
namespace {

Tensor counted(Shape shape) {
  std::vector<float> values(numel(shape));
  std::iota(values.begin(), values.end(), 0.0f);
  return Tensor::from(std::move(values), std::move(shape));
}

TEST(Tensor, copies_share_memory_until_cloned) {
  Tensor a = counted({2, 3});
  EXPECT_TRUE(a.unique());
  Tensor b = a, c = a.clone();
  EXPECT_FALSE(a.unique());
  EXPECT_TRUE(a.same_memory(b));
  EXPECT_FALSE(a.same_memory(c));
  a.f32()[4] = 40;
  EXPECT_EQ(b.f32()[4], 40);
  EXPECT_EQ(c.f32()[4], 4);
  b = Tensor();
  EXPECT_TRUE(a.unique());
  EXPECT_FALSE(b.defined());
}

TEST(Tensor, slices_of_views_of_slices_reach_the_right_values) {
  const Tensor x = counted({5, 2, 3});
  const Tensor tail = x.slice(2, 5);
  EXPECT_EQ(tail.shape(), (Shape{3, 2, 3}));
  EXPECT_EQ(tail.f32()[0], 12);
  const Tensor rows = tail.view({6, 3}).slice(1, 3);
  EXPECT_EQ(rows.f32()[0], 15);
  EXPECT_EQ(rows.numel(), 6);
  EXPECT_EQ(rows.row_size(), 3);
  const Tensor copy = rows.clone();
  EXPECT_EQ(copy.f32()[5], 20);
  EXPECT_TRUE(copy.unique());
  EXPECT_TRUE(rows.same_memory(x));
  EXPECT_EQ(x.slice(5, 5).numel(), 0);
}

TEST(Tensor, sizes_count_from_either_end) {
  const Tensor x = Tensor::zeros({4, 5, 6});
  EXPECT_EQ(x.size(0), 4);
  EXPECT_EQ(x.size(-1), 6);
  EXPECT_EQ(x.size(-3), 4);
  EXPECT_EQ(x.row_size(), 30);
  EXPECT_EQ(to_string(x.shape()), "[4, 5, 6]");
  EXPECT_EQ(Tensor::zeros({}).numel(), 1);
  EXPECT_EQ(Tensor::zeros({0, 7}).numel(), 0);
  EXPECT_EQ(Tensor::zeros({0, 7}).row_size(), 0);
}

TEST(Tensor, zeros_are_zero_in_memory_that_was_used_before) {
  Arena arena;
  {
    Tensor dirty = Tensor::empty({100}, arena);
    std::fill_n(dirty.f32(), 100, 7.0f);
  }
  const Tensor clean = Tensor::zeros({100}, arena);
  EXPECT_EQ(arena.system_allocations(), 1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(clean.f32()[i], 0);
}

TEST(Tensor, other_types_have_their_own_width) {
  Tensor ids = Tensor::zeros({2, 3}, Arena::global(), DType::kI32);
  ids.i32()[5] = 9;
  EXPECT_EQ(ids.slice(1, 2).i32()[2], 9);
  EXPECT_EQ(ids.clone().i32()[5], 9);
  Tensor bytes = Tensor::zeros({4}, Arena::global(), DType::kU8);
  bytes.u8()[3] = 200;
  EXPECT_EQ(bytes.slice(3, 4).clone().u8()[0], 200);
}

TEST(TensorDeathTest, wrong_shapes_and_types_are_caught) {
  const Tensor x = Tensor::zeros({2, 3});
  EXPECT_DEATH(x.view({7}), "7 against 6");
  EXPECT_DEATH(x.slice(1, 3), "check failed");
  EXPECT_DEATH(x.slice(-1, 1), "check failed");
  EXPECT_DEATH(x.size(2), "check failed");
  EXPECT_DEATH(x.i32(), "check failed");
  EXPECT_DEATH(Tensor().f32(), "defined");
  EXPECT_DEATH(Tensor::from({1, 2}, {3}), "2 against 3");
}

TEST(Arena, hands_buffers_out_again_when_the_last_handle_is_gone) {
  Arena arena;
  Tensor a = Tensor::empty({1000}, arena);
  const float* at = a.f32();
  const Tensor part = a.slice(10, 20);
  a = Tensor();
  Tensor b = Tensor::empty({1000}, arena);
  EXPECT_NE(b.f32(), at) << "a slice still holds the first buffer";
  EXPECT_EQ(arena.system_allocations(), 2);
  b = Tensor();
  { const Tensor nearly = Tensor::empty({990}, arena); }
  EXPECT_EQ(arena.system_allocations(), 2);
  const Tensor small = Tensor::empty({100}, arena);
  EXPECT_EQ(arena.system_allocations(), 3) << "a far larger buffer is not given away";
}

TEST(Arena, counts_and_gives_back_what_waits) {
  Arena arena;
  const auto kept = arena.allocate(5000);
  const size_t one = arena.reserved_bytes();
  EXPECT_GE(one, 5000u);
  EXPECT_LE(one, 5000u + 5000 / 8 + 64);
  arena.allocate(100000).reset();
  EXPECT_GE(arena.reserved_bytes(), 105000u);
  arena.trim();
  EXPECT_EQ(arena.reserved_bytes(), one);
}

TEST(Arena, buffers_are_aligned_for_vectors_and_hold_what_was_asked) {
  Arena arena;
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{257}, size_t{4097}, (size_t{2} << 20) + 3}) {
    const auto buffer = arena.allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.get()) % 64, 0u) << bytes;
    std::fill_n(buffer.get(), bytes, std::byte{1});
  }
}

TEST(Arena, tensors_outlive_it) {
  auto arena = std::make_unique<Arena>();
  Tensor x = Tensor::zeros({300}, *arena);
  arena.reset();
  x.f32()[299] = 3;
  EXPECT_EQ(x.f32()[299], 3);
}

TEST(Arena, running_out_of_memory_is_an_error_not_an_abort) {
  Arena arena;
  try {
    arena.allocate(size_t{1} << 62);
    ADD_FAILURE() << "allocated";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kIo);
  }
  EXPECT_EQ(arena.reserved_bytes(), 0u);
}

TEST(Arena, threads_may_share_it) {
  Arena arena;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&arena, t] {
      for (int i = 0; i < 500; ++i) {
        const Tensor x = Tensor::from(std::vector<float>(1 + i % 300, static_cast<float>(t)), {1 + i % 300}, arena);
        for (int64_t j = 0; j < x.numel(); ++j) ASSERT_EQ(x.f32()[j], static_cast<float>(t));
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(arena.system_allocations(), 4 * 30);
}

}  // namespace
}  // namespace microtome
