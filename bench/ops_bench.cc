// Speed of every operation of the table that tests/kernels checks, forward and backward, on one thread and on all.
//
//   ops_bench --benchmark_filter=attention_decode
//
// Backward figures include setting up and the forward work that the gradient recomputes; FLOP and bytes are the forward's.
#include <benchmark/benchmark.h>

#include "../tests/kernels/op_case.h"
#include "microtome/base/threads.h"

namespace {

using namespace microtome::op_table;

void count(benchmark::State& state, const OpCase& op) {
  if (op.flops > 0) state.counters["FLOP/s"] = benchmark::Counter(op.flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["B/s"] = benchmark::Counter(op.bytes, benchmark::Counter::kIsIterationInvariantRate);
}

void forward(benchmark::State& state, const OpCase& op) {
  microtome::set_num_threads(static_cast<int>(state.range(0)));
  const Arrays<float> in = random_arrays<float>(op.inputs, op.low, op.high, 1);
  Arrays<float> out = zeros<float>(op.outputs);
  const std::function<void()> run = op.prepare(in, out);
  for (auto _ : state) run();
  count(state, op);
}

void backward(benchmark::State& state, const OpCase& op) {
  microtome::set_num_threads(static_cast<int>(state.range(0)));
  const Arrays<float> in = random_arrays<float>(op.inputs, op.low, op.high, 1), dout = random_arrays<float>(op.outputs, -1, 1, 2);
  Arrays<float> din = zeros<float>(op.inputs);
  for (auto _ : state) op.fast_backward(in, dout, din);
  count(state, op);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (const OpCase& op : op_cases(Sizes::kBench)) {
    benchmark::RegisterBenchmark((op.name + "/forward").c_str(), forward, op)->Arg(1)->Arg(0)->ArgName("threads")->UseRealTime();
    if (op.fast_backward)
      benchmark::RegisterBenchmark((op.name + "/backward").c_str(), backward, op)->Arg(1)->ArgName("threads")->UseRealTime();
  }
  benchmark::RunSpecifiedBenchmarks();
}
