#include "microtome/model/weights.h"

#include <array>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"

namespace microtome {
namespace {

const CheckpointTensor& checked_tensor(const Checkpoint& checkpoint, const Slot& slot) {
  const CheckpointTensor& t = checkpoint.get(slot.tensor);
  if (t.shape != slot.shape)
    throw Error(ErrorKind::kCorrupt, "tensor \"{}\" has shape {}, the configuration asks for {}", printable(slot.tensor),
                to_string(t.shape), to_string(slot.shape));
  switch (t.dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kF64:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0: return t;
    default:
      throw Error(ErrorKind::kUnsupported, "tensor \"{}\" is {}, expected a floating-point or Q4_0, Q4_1, Q8_0 weight",
                  printable(slot.tensor), dtype_name(t.dtype));
  }
}

PackedFormat packed_format(WeightFormat format, DType type, bool columns_contiguous) {
  if (format == WeightFormat::kF32) return PackedFormat::kF32;
  if (format == WeightFormat::kBF16) return PackedFormat::kBF16;
  if (columns_contiguous) return native_format(type);
  return type == DType::kBF16 ? PackedFormat::kBF16 : PackedFormat::kF32;
}

// Every column of the parameter lies contiguous along k, on a block boundary: it can be packed from the file as it is.
bool columns_contiguous(const Slot& slot, DType type, int64_t k) {
  const int64_t block = dtype_block_size(type);
  if (slot.stride_k != 1 || k % block != 0 || slot.base % block != 0) return false;
  for (const Axis& a : slot.columns)
    if (a.stride % block != 0) return false;
  return true;
}

void pack_from_columns(const CheckpointTensor& t, Matrix& m) {
  const int64_t panels = (m.view.n + kPanelWidth - 1) / kPanelWidth;
  const int64_t panel_bytes = packed_panel_bytes(m.view.format, m.view.k);
  std::byte* packed = reinterpret_cast<std::byte*>(m.storage.u8());
  parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      std::array<const std::byte*, kPanelWidth> columns{};
      for (int64_t c = 0; c < kPanelWidth && p * kPanelWidth + c < m.view.n; ++c)
        columns[c] = t.data.data() + dtype_bytes(t.dtype, m.slot.offset(0, p * kPanelWidth + c));
      pack_panel(m.view.format, t.dtype, columns.data(), m.view.k, packed + p * panel_bytes);
    }
  });
}

// The whole tensor as f32; small tensors and unusual layouts only.
Tensor widened(const CheckpointTensor& t) {
  const int64_t n = numel(t.shape);
  if (n % dtype_block_size(t.dtype) != 0)
    throw Error(ErrorKind::kCorrupt, "tensor \"{}\": {} values are no whole number of blocks", printable(t.name), n);
  Tensor out = Tensor::empty({n});
  widen(t.dtype, t.data.data(), n, out.f32());
  return out;
}

void pack_through_f32(const CheckpointTensor& t, Matrix& m) {
  const Tensor source = widened(t);
  std::byte* packed = reinterpret_cast<std::byte*>(m.storage.u8());
  const int64_t k = m.view.k, n = m.view.n;
  if (m.slot.columns.size() == 1) {
    pack_plain(m.view.format, source.f32() + m.slot.base, k, n, m.slot.stride_k, m.slot.columns[0].stride, packed);
    return;
  }
  Tensor plain = Tensor::empty({k, n});
  parallel_for(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c)
      for (int64_t r = 0; r < k; ++r) plain.f32()[r * n + c] = source.f32()[m.slot.offset(r, c)];
  });
  pack_plain(m.view.format, plain.f32(), k, n, n, 1, packed);
}

void load(const Checkpoint& checkpoint, WeightFormat format, Matrix& m) {
  const CheckpointTensor& t = checked_tensor(checkpoint, m.slot);
  const bool contiguous = columns_contiguous(m.slot, t.dtype, m.view.k);
  m.view.format = packed_format(format, t.dtype, contiguous);
  m.storage = Tensor::empty({packed_bytes(m.view.format, m.view.k, m.view.n)}, Arena::global(), DType::kU8);
  m.view.data = reinterpret_cast<const std::byte*>(m.storage.u8());
  if (contiguous) pack_from_columns(t, m);
  else pack_through_f32(t, m);
}

void load(const Checkpoint& checkpoint, Vector& v) {
  const Tensor source = widened(checked_tensor(checkpoint, v.slot));
  int64_t n = 1;
  for (const Axis& a : v.slot.columns) n *= a.size;
  v.data = Tensor::empty({n});
  for (int64_t i = 0; i < n; ++i) v.data.f32()[i] = source.f32()[v.slot.offset(0, i)];
}

}  // namespace

namespace {

int64_t column_offset(const std::vector<Axis>& columns, int64_t n) {
  int64_t at = 0;
  for (size_t i = columns.size(); i-- > 0;) {
    at += n % columns[i].size * columns[i].stride;
    n /= columns[i].size;
  }
  return at;
}

}  // namespace

int64_t Slot::offset(int64_t k, int64_t n) const { return base + k * stride_k + column_offset(columns, n); }

Slot linear_slot(std::string tensor, int64_t out, int64_t in) { return {std::move(tensor), {out, in}, 0, 1, {{out, in}}}; }

Slot conv1d_slot(std::string tensor, int64_t in, int64_t total, int64_t begin, int64_t width) {
  return {std::move(tensor), {in, total}, begin, total, {{width, 1}}};
}

Slot vector_slot(std::string tensor, int64_t n, int64_t begin, int64_t total) {
  return {std::move(tensor), {total < 0 ? n : total}, begin, 0, {{n, 1}}};
}

std::vector<Matrix*> Weights::matrices() {
  std::vector<Matrix*> out{&embed, &unembed};
  for (LayerWeights& l : layers)
    for (Matrix* m : {&l.w_q, &l.w_k, &l.w_v, &l.w_o, &l.w_gate, &l.w_in, &l.w_out}) out.push_back(m);
  std::erase_if(out, [](const Matrix* m) { return !m->present(); });
  return out;
}

std::vector<Vector*> Weights::vectors() {
  std::vector<Vector*> out{&b_unembed, &positions, &final_norm.gamma, &final_norm.beta};
  for (LayerWeights& l : layers)
    for (Vector* v :
         {&l.ln1.gamma, &l.ln1.beta, &l.ln2.gamma, &l.ln2.beta, &l.b_q, &l.b_k, &l.b_v, &l.b_o, &l.b_gate, &l.b_in, &l.b_out})
      out.push_back(v);
  std::erase_if(out, [](const Vector* v) { return !v->present(); });
  return out;
}

void declare(Weights& weights, Matrix& matrix, int64_t k, int64_t n, Slot slot) {
  matrix.id = weights.n_parameters++;
  matrix.slot = std::move(slot);
  matrix.view.k = k;
  matrix.view.n = n;
}

void declare(Weights& weights, Vector& vector, Slot slot) {
  vector.id = weights.n_parameters++;
  vector.slot = std::move(slot);
}

void load_weights(const Checkpoint& checkpoint, WeightFormat format, Weights& weights) {
  for (Matrix* m : weights.matrices()) {
    if (m == &weights.unembed && m->id == weights.embed.id) {
      m->view = weights.embed.view;
      m->storage = weights.embed.storage;
      continue;
    }
    load(checkpoint, format, *m);
    checkpoint.release(checkpoint.get(m->slot.tensor));
  }
  for (Vector* v : weights.vectors()) load(checkpoint, *v);
}

void scatter_gradient(const Slot& slot, int64_t k, int64_t n, const float* gradient, float* tensor) {
  const std::vector<Axis>& columns = slot.gradient_columns.empty() ? slot.columns : slot.gradient_columns;
  parallel_for(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const int64_t column = slot.base + column_offset(columns, j);
      for (int64_t i = 0; i < k; ++i) tensor[column + i * slot.stride_k] += gradient[i * n + j];
    }
  });
}

}  // namespace microtome
