#include "microtome/tape/attention.h"

#include <algorithm>
#include <limits>

#include "microtome/base/threads.h"

namespace microtome {
namespace {

// Query rows of one kernel call: enough to share a block of keys, few enough that a tile of scores stays in cache.
constexpr int64_t kRowTile = 32;

// Multiply-adds of the scores: some 10 microseconds of work.
constexpr int64_t kWorthAThread = 1 << 18;

struct Task {
  int sequence;
  int64_t kv_head, first, last;  // rows of the sequence
};

std::vector<Task> forward_tasks(const AttentionLayout& layout) {
  std::vector<Task> tasks;
  for (size_t s = 0; s < layout.sequences.size(); ++s)
    for (int64_t h = 0; h < layout.n_kv_heads; ++h)
      // Later rows see more keys: long tasks first.
      for (int64_t last = layout.sequences[s].rows(); last > 0; last -= kRowTile)
        tasks.push_back({static_cast<int>(s), h, std::max<int64_t>(0, last - kRowTile), last});
  return tasks;
}

// Pointers to one task's rows, head by head within the group: row (head in group) * (last - first) + (row - first).
struct TaskRows {
  std::vector<QueryRow> rows;
  std::vector<int64_t> index;  // (row of the pass) * H + head

  // `every_key`: all keys held, visible or not. After the scores invisible ones are -inf and then 0: they change no bit, unless
  // an edit gave them a value.
  TaskRows(const AttentionLayout& layout, const Task& t, const float* q, bool every_key = false) {
    const SequenceRows& s = layout.sequences[t.sequence];
    const int64_t g = layout.group();
    for (int64_t h = t.kv_head * g; h < (t.kv_head + 1) * g; ++h)
      for (int64_t i = t.first; i < t.last; ++i) {
        const int64_t at = (s.row_begin + i) * layout.n_heads + h;
        QueryRow row;
        row.q = q ? q + at * layout.shape.d : nullptr;
        row.slots = s.slots.empty() || s.slots[i].empty() ? nullptr : s.slots[i].data();
        row.begin = every_key ? 0 : s.begin[i];
        row.end = every_key ? static_cast<int32_t>(s.n_slots) : s.end[i];
        rows.push_back(row);
        index.push_back(at);
      }
  }

  std::vector<int64_t> pass_rows(int64_t n_heads) const {
    std::vector<int64_t> out;
    for (const int64_t at : index) out.push_back(at / n_heads);
    return out;
  }

  template <class T>
  std::vector<T*> pointers(T* base, int64_t width) const {
    std::vector<T*> out;
    for (const int64_t at : index) out.push_back(base ? base + at * width : nullptr);
    return out;
  }
};

int64_t longest(const AttentionLayout& layout) {
  int64_t n = 1;
  for (const SequenceRows& s : layout.sequences)
    for (const int32_t end : s.end) n = std::max<int64_t>(n, end);
  return n;
}

std::shared_ptr<std::byte> scratch_for(const OpContext& ctx, const AttentionLayout& layout) {
  return ctx.arena.allocate(static_cast<size_t>(attention_scratch_bytes(layout.shape, longest(layout))));
}

// Gradient blocks of one key/value head, zeroed, and their transfer to the rows of the pass.
struct BlockGradients {
  Tensor k, v;
  std::vector<float*> k_blocks, v_blocks;

  BlockGradients(const OpContext& ctx, const AttentionLayout& layout, const SequenceRows& s, bool want_k, bool want_v) {
    const int64_t blocks = (s.n_slots + kKeyBlock - 1) / kKeyBlock;
    if (want_k) k = Tensor::zeros({blocks * kKeyBlock, layout.shape.d}, ctx.arena);
    if (want_v) v = Tensor::zeros({blocks * kKeyBlock, layout.shape.dv}, ctx.arena);
    for (int64_t b = 0; b < blocks; ++b) {
      if (want_k) k_blocks.push_back(k.f32() + b * kKeyBlock * layout.shape.d);
      if (want_v) v_blocks.push_back(v.f32() + b * kKeyBlock * layout.shape.dv);
    }
  }
  float* const* dk() const { return k_blocks.empty() ? nullptr : k_blocks.data(); }
  float* const* dv() const { return v_blocks.empty() ? nullptr : v_blocks.data(); }

  static void to_rows(const AttentionLayout& layout, const SequenceRows& s, int64_t kv_head, const Tensor& from, Tensor& to) {
    if (!from.defined()) return;
    const int64_t width = from.size(1);
    for (int64_t i = 0; i < s.rows(); ++i)
      std::copy_n(from.f32() + s.own_slot[i] * width, width,
                  to.f32() + ((s.row_begin + i) * layout.n_kv_heads + kv_head) * width);
  }
};

// One task per sequence and key/value head: its rows are taken in rising order, so sums do not depend on threads.
template <class Fn>
void for_each_kv_head(const AttentionLayout& layout, Fn&& fn) {
  const int64_t n = static_cast<int64_t>(layout.sequences.size()) * layout.n_kv_heads;
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fn(static_cast<int>(i / layout.n_kv_heads), i % layout.n_kv_heads);
  });
}

Tensor zeros_like_rows(const OpContext& ctx, const AttentionLayout& layout, int64_t heads, int64_t width) {
  int64_t rows = 0;
  for (const SequenceRows& s : layout.sequences) rows = std::max(rows, s.row_end);
  return Tensor::zeros({rows, heads, width}, ctx.arena);
}

void fused_backward(Tape* tape, const OpContext& ctx, const AttentionLayout& layout, const Tensor& q, const Tensor& dz,
                    int q_node, int k_node, int v_node) {
  const AttentionShape& shape = layout.shape;
  Tensor dq, dk, dv;
  if (q_node >= 0) dq = zeros_like_rows(ctx, layout, layout.n_heads, shape.d);
  if (k_node >= 0) dk = zeros_like_rows(ctx, layout, layout.n_kv_heads, shape.d);
  if (v_node >= 0) dv = zeros_like_rows(ctx, layout, layout.n_kv_heads, shape.dv);
  for_each_kv_head(layout, [&](int sequence, int64_t kv_head) {
    const SequenceRows& s = layout.sequences[sequence];
    BlockGradients blocks(ctx, layout, s, dk.defined(), dv.defined());
    const auto scratch = scratch_for(ctx, layout);
    for (int64_t first = 0; first < s.rows(); first += kRowTile) {
      const Task task{sequence, kv_head, first, std::min(s.rows(), first + kRowTile)};
      const TaskRows rows(layout, task, q.f32());
      const auto dz_rows = rows.pointers(dz.f32(), shape.dv);
      const auto dq_rows = rows.pointers(dq.defined() ? dq.f32() : nullptr, shape.d);
      ctx.kernels.attention_block_backward(shape, s.heads[kv_head].blocks(), rows.rows.data(), std::ssize(rows.rows),
                                           dz_rows.data(), nullptr, dq.defined() ? dq_rows.data() : nullptr, blocks.dk(),
                                           blocks.dv(), scratch.get());
    }
    BlockGradients::to_rows(layout, s, kv_head, blocks.k, dk);
    BlockGradients::to_rows(layout, s, kv_head, blocks.v, dv);
  });
  if (dq.defined()) tape->add_gradient(q_node, dq);
  if (dk.defined()) tape->add_gradient(k_node, dk);
  if (dv.defined()) tape->add_gradient(v_node, dv);
}

}  // namespace

Value fused_attention(Tape* tape, const OpContext& ctx, AttentionLayoutPtr layout, const Value& q, const Value& k, const Value& v,
                      const KeyLists* lists, double* mass) {
  const AttentionShape& shape = layout->shape;
  Tensor z = Tensor::empty({q.data.size(0), layout->n_heads, shape.dv}, ctx.arena);
  const auto tasks = forward_tasks(*layout);
  // One token behind a short cache is not worth waking another thread for.
  const int64_t work = longest(*layout) * q.data.numel();
  parallel_for(std::ssize(tasks), work < kWorthAThread ? std::ssize(tasks) : 1, [&](int64_t begin, int64_t end) {
    const auto scratch = scratch_for(ctx, *layout);
    for (int64_t i = begin; i < end; ++i) {
      const TaskRows rows(*layout, tasks[i], q.data.f32());
      const auto out = rows.pointers(z.f32(), shape.dv);
      const HeadKeys& keys = layout->sequences[tasks[i].sequence].heads[tasks[i].kv_head];
      if (lists) {
        const auto sums = rows.pointers(mass, lists->width());
        const std::vector<int64_t> row_of = rows.pass_rows(layout->n_heads);
        ctx.kernels.attention_block_mass(shape, keys.blocks(), rows.rows.data(), std::ssize(rows.rows), *lists, row_of.data(),
                                         out.data(), sums.data(), scratch.get());
        continue;
      }
      ctx.kernels.attention_block(shape, keys.blocks(), rows.rows.data(), std::ssize(rows.rows), out.data(), nullptr,
                                  scratch.get());
    }
  });
  if (!tape || (q.node < 0 && k.node < 0 && v.node < 0)) return z;
  return tape->record(z, [tape, ctx, layout, q = q.data, nodes = std::array{q.node, k.node, v.node}](const Tensor& dz) {
    fused_backward(tape, ctx, *layout, q, dz, nodes[0], nodes[1], nodes[2]);
  });
}

namespace {

// One sequence's array [H, rows, n_slots] and the part of it that a task covers: head by head, rows [first, last).
struct ScoreArray {
  int64_t rows, ld;
  float* at(float* base, int64_t head, int64_t row) const { return base + (head * rows + row) * ld; }
};

// Calls fn(kv_head, head, QueryRows of that head's rows) for every query head, in parallel over key/value heads. Without q, the
// rows see every key.
template <class Fn>
void for_each_head(const AttentionLayout& layout, int sequence, const float* q, Fn&& fn) {
  const SequenceRows& s = layout.sequences[sequence];
  parallel_for(layout.n_kv_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t kv_head = begin; kv_head < end; ++kv_head) {
      const TaskRows rows(layout, {sequence, kv_head, 0, s.rows()}, q, q == nullptr);
      for (int64_t g = 0; g < layout.group(); ++g) fn(kv_head, kv_head * layout.group() + g, rows, g * s.rows());
    }
  });
}

void require_plain(const AttentionLayout& layout, int sequence) {
  for (const auto& slots : layout.sequences[sequence].slots)
    if (!slots.empty())
      throw Error(ErrorKind::kUnsupported, "attention patterns cannot be read or edited in rows with a visible set of their own");
}

}  // namespace

Value attention_scores(Tape* tape, const OpContext& ctx, AttentionLayoutPtr layout, int sequence, const Value& q,
                       const Value& k) {
  require_plain(*layout, sequence);
  const SequenceRows& s = layout->sequences[sequence];
  const ScoreArray array{s.rows(), s.n_slots};
  Tensor scores = Tensor::empty({layout->n_heads, s.rows(), s.n_slots}, ctx.arena);
  std::fill_n(scores.f32(), scores.numel(), -std::numeric_limits<float>::infinity());
  for_each_head(*layout, sequence, q.data.f32(), [&](int64_t kv_head, int64_t head, const TaskRows& rows, int64_t first) {
    const auto scratch = scratch_for(ctx, *layout);
    ctx.kernels.attention_scores(layout->shape, s.heads[kv_head].blocks(), rows.rows.data() + first, s.rows(),
                                 array.at(scores.f32(), head, 0), array.ld, scratch.get());
  });
  if (!tape || (q.node < 0 && k.node < 0)) return scores;
  return tape->record(scores, [tape, ctx, layout, sequence, array, q = q.data, scores,
                               nodes = std::array{q.node, k.node}](const Tensor& dscores) {
    const SequenceRows& s = layout->sequences[sequence];
    Tensor dq = zeros_like_rows(ctx, *layout, layout->n_heads, layout->shape.d);
    Tensor dk = zeros_like_rows(ctx, *layout, layout->n_kv_heads, layout->shape.d);
    parallel_for(layout->n_kv_heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t kv_head = begin; kv_head < end; ++kv_head) {
        BlockGradients blocks(ctx, *layout, s, true, false);
        const auto scratch = scratch_for(ctx, *layout);
        const TaskRows rows(*layout, {sequence, kv_head, 0, s.rows()}, q.f32());
        const auto dq_rows = rows.pointers(dq.f32(), layout->shape.d);
        for (int64_t g = 0; g < layout->group(); ++g) {
          const int64_t head = kv_head * layout->group() + g, first = g * s.rows();
          ctx.kernels.attention_scores_backward(layout->shape, s.heads[kv_head].blocks(), rows.rows.data() + first, s.rows(),
                                                array.at(const_cast<float*>(scores.f32()), head, 0),
                                                array.at(const_cast<float*>(dscores.f32()), head, 0), array.ld,
                                                dq_rows.data() + first, blocks.dk(), scratch.get());
        }
        BlockGradients::to_rows(*layout, s, kv_head, blocks.k, dk);
      }
    });
    tape->add_gradient(nodes[0], dq);
    tape->add_gradient(nodes[1], dk);
  });
}

Value attention_pattern(Tape* tape, const OpContext& ctx, AttentionLayoutPtr layout, int sequence, const Value& scores) {
  const SequenceRows& s = layout->sequences[sequence];
  const ScoreArray array{s.rows(), s.n_slots};
  Tensor pattern = scores.data.clone(ctx.arena);
  for_each_head(*layout, sequence, nullptr, [&](int64_t, int64_t head, const TaskRows& rows, int64_t first) {
    ctx.kernels.attention_softmax(rows.rows.data() + first, s.rows(), array.at(pattern.f32(), head, 0), array.ld, nullptr);
  });
  if (!tape || scores.node < 0) return pattern;
  return tape->record(pattern, [tape, ctx, layout, sequence, array, pattern, node = scores.node](const Tensor& dpattern) {
    const SequenceRows& s = layout->sequences[sequence];
    Tensor dscores = Tensor::zeros(pattern.shape(), ctx.arena);
    for_each_head(*layout, sequence, nullptr, [&](int64_t, int64_t head, const TaskRows& rows, int64_t first) {
      ctx.kernels.attention_softmax_backward(
          rows.rows.data() + first, s.rows(), array.at(const_cast<float*>(pattern.f32()), head, 0),
          array.at(const_cast<float*>(dpattern.f32()), head, 0), array.ld, array.at(dscores.f32(), head, 0));
    });
    tape->add_gradient(node, dscores);
  });
}

void pattern_mass(const AttentionLayout& layout, int sequence, const Tensor& pattern, const KeyLists& lists, double* mass) {
  const SequenceRows& s = layout.sequences[sequence];
  for (int64_t h = 0; h < layout.n_heads; ++h)
    for (int64_t i = 0; i < s.rows(); ++i) {
      const int64_t row = s.row_begin + i;
      lists.sum(row, pattern.f32() + (h * s.rows() + i) * s.n_slots, 0, s.n_slots,
                mass + (row * layout.n_heads + h) * lists.width());
    }
}

Value attention_apply(Tape* tape, const OpContext& ctx, AttentionLayoutPtr layout, const std::vector<Value>& patterns,
                      const Value& v) {
  const int64_t dv = layout->shape.dv;
  Tensor z = zeros_like_rows(ctx, *layout, layout->n_heads, dv);
  bool recorded = v.node >= 0;
  for (size_t sequence = 0; sequence < patterns.size(); ++sequence) {
    const SequenceRows& s = layout->sequences[sequence];
    const ScoreArray array{s.rows(), s.n_slots};
    const Tensor& pattern = patterns[sequence].data;
    recorded = recorded || patterns[sequence].node >= 0;
    for_each_head(*layout, static_cast<int>(sequence), nullptr,
                  [&](int64_t kv_head, int64_t head, const TaskRows& rows, int64_t first) {
                    const auto scratch = scratch_for(ctx, *layout);
                    const auto out = rows.pointers(z.f32(), dv);
                    ctx.kernels.attention_apply(layout->shape, s.heads[kv_head].blocks(), rows.rows.data() + first, s.rows(),
                                                array.at(const_cast<float*>(pattern.f32()), head, 0), array.ld,
                                                out.data() + first, scratch.get());
                  });
  }
  if (!tape || !recorded) return z;
  return tape->record(z, [tape, ctx, layout, patterns, v_node = v.node](const Tensor& dz) {
    const int64_t dv = layout->shape.dv;
    Tensor dvalues = zeros_like_rows(ctx, *layout, layout->n_kv_heads, dv);
    for (size_t sequence = 0; sequence < patterns.size(); ++sequence) {
      const SequenceRows& s = layout->sequences[sequence];
      const ScoreArray array{s.rows(), s.n_slots};
      const Tensor& pattern = patterns[sequence].data;
      Tensor dpattern = Tensor::zeros(pattern.shape(), ctx.arena);
      parallel_for(layout->n_kv_heads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t kv_head = begin; kv_head < end; ++kv_head) {
          BlockGradients blocks(ctx, *layout, s, false, true);
          const auto scratch = scratch_for(ctx, *layout);
          const TaskRows rows(*layout, {static_cast<int>(sequence), kv_head, 0, s.rows()}, nullptr, true);
          const auto dz_rows = rows.pointers(dz.f32(), dv);
          for (int64_t g = 0; g < layout->group(); ++g) {
            const int64_t head = kv_head * layout->group() + g, first = g * s.rows();
            ctx.kernels.attention_apply_backward(layout->shape, s.heads[kv_head].blocks(), rows.rows.data() + first, s.rows(),
                                                 array.at(const_cast<float*>(pattern.f32()), head, 0), array.ld,
                                                 dz_rows.data() + first, array.at(dpattern.f32(), head, 0), blocks.dv(),
                                                 scratch.get());
          }
          BlockGradients::to_rows(*layout, s, kv_head, blocks.v, dvalues);
        }
      });
      tape->add_gradient(patterns[sequence].node, dpattern);
    }
    tape->add_gradient(v_node, dvalues);
  });
}

}  // namespace microtome
