// The launch wrappers of all kernels, as tables of function pointers: filled once by nvcc's build of the sources
// (compiled/*.cu) and once by the CPU executor's (kernels/cuda_on_cpu/*.cpp). Each family has a header of its own.
//
// A wrapper takes device pointers, row pitches in elements and sizes, queues its kernels on the stream and returns the
// runtime's code (0 = success). It does nothing for empty shapes.
#pragma once

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/calibration_kernels.h"
#include "kernels/cuda/coding_kernels.h"
#include "kernels/cuda/fit_kernels.h"
#include "kernels/cuda/forward_kernels.h"
#include "kernels/cuda/head_kernels.h"
#include "kernels/cuda/packed_kernels.h"
#include "kernels/cuda/split_kernels.h"
#include "kernels/cuda/statistics_kernels.h"

namespace sage::cuda {

struct KernelTable {
  ForwardKernels forward;
  AttentionKernels attention;
  HeadKernels head;
  StatisticsKernels statistics;
  FitKernels fits;
  SplitKernels splits;
  CodingKernels coding;
  CalibrationKernels calibration;
  PackedKernels packed;
};

}  // namespace sage::cuda
