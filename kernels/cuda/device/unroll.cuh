// KX_UNROLL(n): how often nvcc copies the loop behind it; all of it without n. On the CPU nothing: an
// unrolled kernel would only take longer to compile there.
#pragma once

#include "kernels/cuda_on_cpu/executor/kernel.h"

#if KX_EMULATED
#define KX_UNROLL(n)
#else
#define KX_PRAGMA(text) _Pragma(#text)
#define KX_UNROLL(n) KX_PRAGMA(unroll n)
#endif
