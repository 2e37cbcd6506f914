// A 1-bit matrix in device memory in the layout of packed_kernels.h, and products with it that never make it whole.
//
//   const PackedMatrix w(backend, read_packed_planes(factory, stored, name, backend));   // packed/packed_planes.h
//   w.multiply(x, y);                            // y[T x rows] = x[T x cols] w^T with FP32 activations
//   w.multiply(x, y, Activations::kInt8);        // int8 activations where that pays: see choose_gemv
//   w.decode(out);                               // FP32, equal to the host's decoder bit for bit (with FP32 salient values)
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor/view.h"
#include "kernels/cuda/device_backend.h"
#include "kernels/cuda/packed_kernels.h"

namespace sage::cuda {

// What a PackedMatrix is made of, in host memory: symbols as files hold them, numbers decoded.
struct PackedPlanes {
  // Symbol k is bits [k width, (k + 1) width) of the bytes, least significant first. width 8: a byte each.
  struct Symbols {
    std::vector<std::byte> bytes;
    int width = 1;
  };
  // Columns whose symbols stand together in the file, row-major over their unsalient weights. All but the last are a multiple
  // of 32 wide.
  struct Segment {
    int64_t first = 0;
    int64_t count = 0;
    bool has_ids = false;  // otherwise all ids are 0 and none is stored
  };

  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<Segment> segments;
  Symbols signs;  // 1 = negative
  Symbols ids;
  int id_planes = 0;  // 0 .. 3

  // Bit i * salient_pitch + j: weight (i, j) is salient. Empty: none is. salient_pitch 0: whole columns.
  std::vector<std::byte> salient_bits;
  int64_t salient_pitch = 0;
  std::vector<float> salient_values;  // row-major

  int64_t block_columns = 0;  // 0: one block; otherwise a multiple of 32
  int groups = 1;
  bool rows_differ = false;                                    // a set of scales for each row
  bool wide_numbers = false;                                   // scales are not FP16 numbers
  std::vector<float> scales;                                   // [rows if rows_differ][blocks][groups]
  std::vector<float> shifts;                                   // the same, or empty
  std::vector<float> column_scale, row_factor, column_factor;  // or empty

  int64_t blocks() const { return block_columns > 0 ? (cols + block_columns - 1) / block_columns : 1; }
};

// kHalf: 16 bits a salient value, a relative error of at most 2^-11 each. kExact: 32.
enum class SalientNumbers { kExact, kHalf };
struct PackedOptions {
  SalientNumbers salient = SalientNumbers::kExact;
  int64_t panel_weights = int64_t{1} << 24;  // dequantized at a time: 64 MiB of scratch
};
enum class Activations { kFloat32, kInt8 };
enum class Gemv { kSignFlip, kPopc, kTensorCore };

struct GemvChoice {
  Gemv kernel;
  const char* why;
};
// The kernel for int8 activations on a device of compute capability major.minor, for a rows x cols matrix whose scales change
// every `block_columns` columns (0: never).
GemvChoice choose_gemv(int major, int minor, int64_t rows, int64_t cols, int64_t block_columns);

class PackedMatrix {
 public:
  // The backend must outlive the matrix. Sends the planes over and unpacks them there; waits for the end. RunError: counts that
  // do not fit one another. ResourceError: no memory left.
  PackedMatrix(const DeviceBackend& backend, const PackedPlanes& planes, PackedOptions options = {});

  int64_t rows() const { return view_.rows; }
  int64_t cols() const { return view_.cols; }
  int64_t device_bytes() const { return bytes_; }  // of the layout, padding included

  // All of it, row-major. out: rows x cols, on either side.
  void decode(View<float> out) const;

  // y[T x rows] = x[T x cols] w^T. From kPanelVectors vectors on, panels of rows are dequantized to FP32 and multiplied by the
  // BLAS, whatever `activations`; below, one GEMV a vector. x finite with kInt8: the error of an output is then at most
  // max |x| / 254 * sum_j |value the planes hold| of its row, and rounding.
  void multiply(WeightView x, View<float> y, Activations activations = Activations::kFloat32) const;
  // With this kernel, for every vector. Error (internal) if the matrix's blocks are not of a kind the kernel can do.
  void multiply(WeightView x, View<float> y, Gemv kernel) const;

  static constexpr int64_t kPanelVectors = 16;

 private:
  // Device memory that holds `bytes`, followed by at least one zero word.
  std::shared_ptr<void> send(const void* bytes, size_t count);
  const void* send_numbers(const std::vector<float>& values, bool wide);
  const float* send_factors(const std::vector<float>& values) {
    return static_cast<const float*>(values.empty() ? nullptr : send_numbers(values, true));
  }
  template <class T>
  T* keep(int64_t n);
  void unpack(const PackedPlanes& planes);
  void product(class Call& call, const float* x, float* y, Gemv kernel) const;
  void panels(class Call& call, WeightView x, View<float> y) const;

  const DeviceBackend& backend_;
  PackedView view_;
  const PackedOptions options_;
  Gemv int8_kernel_ = Gemv::kSignFlip;
  int64_t bytes_ = 0;
  std::vector<std::shared_ptr<void>> memory_;
};

}  // namespace sage::cuda
