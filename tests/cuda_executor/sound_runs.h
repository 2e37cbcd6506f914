// Runs of the correct kernels, all results in one vector, and what they must be.
#pragma once

#include <vector>

#include "tests/cuda_executor/sound_kernels.h"
#include "tests/cuda_executor/support.h"

namespace kx::test {

// x_i = i mod 13, small enough that all sums are exact.
inline std::vector<float> ramp(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(i % 13);
  return x;
}

constexpr int kRows = 9, kCols = 300, kM = 17, kN = 33, kK = 20, kCount = 512;

inline std::vector<float> run_sound_kernels() {
  using namespace KX_NAMESPACE;
  std::vector<float> all;
  const auto take = [&](int error, const DeviceBuffer<float>& out) {
    EXPECT_EQ(error, 0);
    const std::vector<float> values = out.download();
    all.insert(all.end(), values.begin(), values.end());
  };
  const DeviceBuffer<float> x(ramp(kRows * kCols)), a(ramp(kM * kK)), b(ramp(kK * kN));
  DeviceBuffer<float> sums(kRows), c(kM * kN), scanned(kCount), counts(std::vector<float>(7, 0.0f));
  DeviceBuffer<unsigned long long> total(std::vector<unsigned long long>(1, 0));
  take(launch("row_sums", kRows, 128, 0, nullptr, row_sums, x.data(), kCols, sums.data(), total.data()), sums);
  all.push_back(static_cast<float>(total.download()[0]));
  take(launch("matmul", dim3((kN + 7) / 8, (kM + 7) / 8), dim3(8, 8), 2 * 64 * sizeof(float), nullptr, matmul<8>, a.data(),
              b.data(), c.data(), kM, kN, kK),
       c);
  take(launch("scan_and_reverse", kCount / 64, 64, 64 * sizeof(float), nullptr, scan_and_reverse, x.data(), scanned.data()),
       scanned);
  take(launch("histogram", 5, 64, 7 * sizeof(int), nullptr, histogram, x.data(), 300, counts.data()), counts);
  return all;
}

inline std::vector<float> sound_results() {
  std::vector<float> all;
  float total = 0.0f;
  for (int i = 0; i < kRows; ++i) {
    int sum = 0;
    for (int j = 0; j < kCols; ++j)
      sum += (i * kCols + j) % 13;
    all.push_back(static_cast<float>(sum));
    total += static_cast<float>(sum);
  }
  all.push_back(total);
  for (int i = 0; i < kM; ++i)
    for (int j = 0; j < kN; ++j) {
      int sum = 0;
      for (int k = 0; k < kK; ++k)
        sum += ((i * kK + k) % 13) * ((k * kN + j) % 13);
      all.push_back(static_cast<float>(sum));
    }
  for (int i = 0; i < kCount; ++i) {
    int sum = 0;
    for (int j = i / 32 * 32; j <= (i ^ 31); ++j)
      sum += j % 13;
    all.push_back(static_cast<float>(sum));
  }
  for (int residue = 0; residue < 7; ++residue) {
    int count = 0;
    for (int i = 0; i < 300; ++i)
      count += i % 13 % 7 == residue ? 1 : 0;
    all.push_back(static_cast<float>(count));
  }
  return all;
}

}  // namespace kx::test
