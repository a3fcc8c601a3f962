// What this machine can do, measured: the ceilings that `bench` and bench/ hold the kernels against.
//
//   const double peak = measure_fma_peak_gflops(1);   // one thread, best of a few short runs (some 50 ms in all)
//
// Each figure is the best of several runs of a few milliseconds, so that what else the machine does counts as little as it
// can; measure again next to every kernel that is compared with it. Call from one thread at a time.
#pragma once

namespace microtome {

// f32 multiply-adds (two operations each) out of registers, on the current instruction set, by `threads` threads.
double measure_fma_peak_gflops(int threads);

// bf16 multiply-adds with f32 sums; 0 where the processor has no instruction for them.
double measure_bf16_peak_gflops(int threads);

// Reading memory, not caches: 256 MiB, in 10^9 bytes per second.
double measure_read_gb_s(int threads);

}  // namespace microtome
