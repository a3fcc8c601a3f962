#include "microtome/kernels/gemm_onednn.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <tuple>

#include "microtome/base/threads.h"

namespace microtome::internal {
namespace {

using dnnl::memory;

constexpr size_t kMaxPrimitives = 256;

// A product of one shape: the primitive and the memory handles it runs on. Null primitive: not with oneDNN.
struct Product {
  dnnl::matmul primitive;
  memory a, b, c, scratchpad;
  std::string name;
  bool usable = false;
};

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

class Engine {
 public:
  const Product& product(bool bf16, int64_t m, int64_t k, int64_t n, int threads) {
    const Key key(bf16, m, k, n, threads);
    const auto found = products_.find(key);
    if (found != products_.end()) return found->second;
    if (products_.size() >= kMaxPrimitives) products_.clear();
    return products_.emplace(key, make(bf16, m, k, n)).first->second;
  }

  void run(const Product& p, const void* a, const void* b, float* c) {
    const size_t bytes = p.scratchpad.get_desc().get_size();
    if (bytes > scratchpad_bytes_) {
      scratchpad_bytes_ = (bytes + 4095) / 4096 * 4096;
      scratchpad_.reset(std::aligned_alloc(4096, scratchpad_bytes_));
    }
    p.a.set_data_handle(const_cast<void*>(a));
    p.b.set_data_handle(const_cast<void*>(b));
    p.c.set_data_handle(c);
    p.scratchpad.set_data_handle(scratchpad_.get());
    p.primitive.execute(stream_,
                        {{DNNL_ARG_SRC, p.a}, {DNNL_ARG_WEIGHTS, p.b}, {DNNL_ARG_DST, p.c}, {DNNL_ARG_SCRATCHPAD, p.scratchpad}});
    stream_.wait();
  }

  std::mutex mutex;

 private:
  using Key = std::tuple<bool, int64_t, int64_t, int64_t, int>;

  Product make(bool bf16, int64_t m, int64_t k, int64_t n) {
    Product p;
    try {
      const auto type = bf16 ? memory::data_type::bf16 : memory::data_type::f32;
      const memory::desc a({m, k}, type, memory::format_tag::ab);
      const memory::desc b({k, n}, type, bf16 ? memory::format_tag::BA16a64b2a : memory::format_tag::BA16a64b);
      const memory::desc c({m, n}, memory::data_type::f32, memory::format_tag::ab);
      dnnl::primitive_attr attributes;
      attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
      const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a, b, c), attributes, engine_);
      p.name = description.impl_info_str();
      if (p.name.rfind("brg:avx512", 0) != 0) return p;
      const PackedFormat format = bf16 ? PackedFormat::kBF16 : PackedFormat::kF32;
      if (b.get_size() != static_cast<size_t>(packed_bytes(format, k, n))) return p;
      p.primitive = dnnl::matmul(description);
      p.a = memory(a, engine_, nullptr);
      p.b = memory(b, engine_, nullptr);
      p.c = memory(c, engine_, nullptr);
      p.scratchpad = memory(description.scratchpad_desc(), engine_, nullptr);
      p.usable = true;
    } catch (const dnnl::error&) {
      p.usable = false;
    }
    return p;
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::map<Key, Product> products_;
  std::unique_ptr<void, FreeDeleter> scratchpad_;
  size_t scratchpad_bytes_ = 0;
};

// Never destroyed: products may run until the process ends.
Engine& engine() {
  static Engine& instance = *new Engine;
  return instance;
}

// The team a product gets. oneDNN divides its work among this many and does not notice if fewer come.
int prepare_threads() {
  const int threads = std::min(num_threads(), omp_get_thread_limit());
  if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
  if (omp_get_dynamic() != 0) omp_set_dynamic(0);
  return threads;
}

}  // namespace

int64_t gemm_onednn(const void* a, int64_t rows, const PackedView& b, float* c) {
  if (rows < kOneDnnMinRows || omp_in_parallel()) return 0;
  int64_t m = kOneDnnMaxRows;
  while (m > rows) m /= 2;
  Engine& e = engine();
  const std::lock_guard<std::mutex> lock(e.mutex);
  const Product& product = e.product(b.format == PackedFormat::kBF16, m, b.k, b.n, prepare_threads());
  if (!product.usable) return 0;
  e.run(product, a, b.data, c);
  return m;
}

const char* onednn_implementation(PackedFormat format) {
  Engine& e = engine();
  const std::lock_guard<std::mutex> lock(e.mutex);
  const Product& product = e.product(format == PackedFormat::kBF16, kOneDnnMinRows, 64, 64, prepare_threads());
  return product.usable ? product.name.c_str() : "";
}

}  // namespace microtome::internal
