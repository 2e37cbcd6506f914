// Launch wrapper of the attention kernel. Conventions: kernel_table.h; formula and cost: device/attention.cuh.
#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

// As Backend::attention, in device memory: q, out[length x heads*head_dim], k, v[length x kv_heads*head_dim].
struct AttentionArguments {
  const float* q;
  int64_t ldq;
  const float* k;
  int64_t ldk;
  const float* v;
  int64_t ldv;
  float* out;
  int64_t ldo;
  int64_t length;
  int heads, kv_heads, head_dim;
  float scale;
  int window;
};

struct AttentionKernels {
  static constexpr int kMostHeadDim = 256;  // a tile of longer rows does not fit the registers
  // head_dim <= kMostHeadDim. out may be q.
  int (*attention)(const AttentionArguments& arguments, Stream stream) = nullptr;
};

AttentionKernels compiled_attention_kernels();
AttentionKernels emulated_attention_kernels();

}  // namespace sage::cuda
