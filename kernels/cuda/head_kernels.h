// Launch wrappers of the output head's kernels. Conventions: kernel_table.h.
#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

// What is known of one position's softmax after some slices of the vocabulary: sums of exp(logit - largest).
struct SoftmaxState {
  double sum;
  double cross;   // sum exp(logit - largest) (logit - other side's logit); 0 where there is no other side
  float largest;  // logit
  int32_t top;    // its token, the lowest of equals
};

struct HeadKernels {
  // out[p] = x[index[p]], rows of `cols` floats; out contiguous.
  int (*gather_rows)(const float* x, int64_t ldx, const int32_t* index, int64_t rows, int64_t cols, float* out,
                     Stream stream) = nullptr;
  // Takes the logits of tokens first_token, ..., first_token + tokens - 1 into the states; the slice with first_token == 0
  // comes first and starts them. wanted[p] = logit of target[p] when the slice has it; target may be null.
  int (*scan)(const float* logits, int64_t positions, int64_t tokens, int64_t first_token, const int32_t* target,
              SoftmaxState* state, float* wanted, Stream stream) = nullptr;
  // The same of both sides of a divergence; `cross` of the reference's states is kept, `wanted` is of the own side.
  int (*scan_pair)(const float* logits_ref, const float* logits, int64_t positions, int64_t tokens, int64_t first_token,
                   const int32_t* target, SoftmaxState* state_ref, SoftmaxState* state, float* wanted, Stream stream) = nullptr;
  // nll[t] = log sum exp - wanted logit; 0 where target[t] < 0. slot[t]: t's place among states, wanted and target, < 0 = none;
  // a null slot means t itself. target and nll may both be null, top1 may be null.
  int (*finish)(const SoftmaxState* state, const float* wanted, const int32_t* target, const int32_t* slot, int64_t positions,
                double* nll, int32_t* top1, Stream stream) = nullptr;
  // kl[t], agree[t] of complete states.
  int (*finish_pair)(const SoftmaxState* state_ref, const SoftmaxState* state, int64_t positions, double* kl, uint8_t* agree,
                     Stream stream) = nullptr;
};

HeadKernels compiled_head_kernels();
HeadKernels emulated_head_kernels();

}  // namespace sage::cuda
