// The kernel table: operations reach kernels only through it, one table per device.
#pragma once

#include "microtome/kernels/attention.h"
#include "microtome/kernels/attention_statistics.h"
#include "microtome/kernels/fused.h"
#include "microtome/kernels/gemm.h"
#include "microtome/tensor/tensor.h"

namespace microtome {

struct Backend {
#define MT_KERNEL(name) decltype(&microtome::name) name = &microtome::name
  MT_KERNEL(gemm);
  MT_KERNEL(gemm_plain);
  MT_KERNEL(unpack);
  MT_KERNEL(norm);
  MT_KERNEL(norm_scale);
  MT_KERNEL(norm_normalize);
  MT_KERNEL(norm_affine);
  MT_KERNEL(norm_backward);
  MT_KERNEL(norm_scale_backward);
  MT_KERNEL(norm_normalize_backward);
  MT_KERNEL(norm_affine_backward);
  MT_KERNEL(rope);
  MT_KERNEL(activation);
  MT_KERNEL(activation_backward);
  MT_KERNEL(gated_activation);
  MT_KERNEL(gated_activation_backward);
  MT_KERNEL(softmax);
  MT_KERNEL(softmax_backward);
  MT_KERNEL(log_sum_exp);
  MT_KERNEL(cross_entropy);
  MT_KERNEL(cross_entropy_backward);
  MT_KERNEL(add);
  MT_KERNEL(multiply);
  MT_KERNEL(scale_by);
  MT_KERNEL(add_scaled);
  MT_KERNEL(add_bias);
  MT_KERNEL(column_sums);
  MT_KERNEL(transpose);
  MT_KERNEL(attention_scores);
  MT_KERNEL(attention_softmax);
  MT_KERNEL(attention_apply);
  MT_KERNEL(attention_block);
  MT_KERNEL(attention_block_mass);
  MT_KERNEL(attention_block_backward);
  MT_KERNEL(attention_scores_backward);
  MT_KERNEL(attention_softmax_backward);
  MT_KERNEL(attention_apply_backward);
#undef MT_KERNEL
};

const Backend& backend(Device device);

}  // namespace microtome
