// A matrix with the Gram of correlated inputs, and what tests of calibrated pipelines ask of them.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/calibration/sampler.h"
#include "core/pipeline/matrix_engine.h"
#include "core/util/files.h"
#include "core/util/random.h"
#include "kernels/backends.h"
#include "tests/pipeline/pipelines.h"
#include "tests/support/expect_error.h"
#include "tests/support/fixture.h"

namespace sage::test {

inline constexpr const char* kMatrixName = "model.layers.0.test.weight";
inline constexpr const char* kLayerName = "layer 0 qkv";

inline const Backend& cpu() {
  static const std::unique_ptr<Backend> backend = make_backend("cpu");
  return *backend;
}

// H = 2/N X^T X of inputs where each mixes its neighbour in and every eleventh is large; those in `dead` are zero.
inline Matrix correlated_gram(int64_t cols, uint64_t seed, const std::vector<int64_t>& dead = {}) {
  Rng rng(seed, "inputs");
  const int64_t tokens = 2 * cols + 16;
  Matrix x(tokens, cols);
  for (int64_t t = 0; t < tokens; ++t) {
    double last = 0;
    for (int64_t j = 0; j < cols; ++j) {
      last = 0.8 * last + rng.normal();
      x(t, j) = static_cast<float>(last * (j % 11 == 4 ? 4.0 : 1.0));
    }
    for (const int64_t j : dead)
      if (j < cols) x(t, j) = 0;
  }
  Matrix h(cols, cols);
  for (int64_t i = 0; i < cols; ++i)
    for (int64_t j = 0; j < cols; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t)
        sum += static_cast<double>(x(t, i)) * x(t, j);
      h(i, j) = static_cast<float>(2 * sum / static_cast<double>(tokens));
    }
  return h;
}

struct Layer {
  Matrix w, gram;
  FactorOptions options;
  std::unique_ptr<LayerHessian> hessian;
  Layer(int64_t rows, int64_t cols, uint64_t seed, const std::vector<int64_t>& dead = {})
      : w(make_random("t10+s", rows, cols, seed)), gram(correlated_gram(cols, seed, dead)) {
    options.precision = GramPrecision::kFp64;
    remake();
  }
  void remake() { hessian = std::make_unique<LayerHessian>(gram.view(), options, kLayerName); }

  MatrixResult quantize(const PipelineFactory& f, Trace* trace = nullptr) const {
    return quantize_matrix(f, {.weights = w.view(), .id = {0, kMatrixName}, .seed = 1, .hessian = hessian.get(), .trace = trace}, cpu());
  }
  // tr((W - Q) (H + diagonal) (W - Q)^T), rows weighted.
  double output_error(const Matrix& q, const std::vector<double>& diagonal = {}, const std::vector<double>& row_weight = {}) const {
    double sum = 0;
    std::vector<double> r(static_cast<size_t>(w.cols()));
    for (int64_t i = 0; i < w.rows(); ++i) {
      for (int64_t j = 0; j < w.cols(); ++j)
        r[static_cast<size_t>(j)] = static_cast<double>(w(i, j)) - q(i, j);
      double row = 0;
      for (int64_t j = 0; j < w.cols(); ++j) {
        double hr = diagonal.empty() ? 0 : diagonal[static_cast<size_t>(j)] * r[static_cast<size_t>(j)];
        for (int64_t k = 0; k < w.cols(); ++k)
          hr += static_cast<double>(gram(j, k)) * r[static_cast<size_t>(k)];
        row += hr * r[static_cast<size_t>(j)];
      }
      sum += row * (row_weight.empty() ? 1.0 : row_weight[static_cast<size_t>(i)]);
    }
    return sum;
  }
};

inline constexpr int64_t kTextTokens = 600;

// Draws as a run does, from a text of random tokens.
inline SampleSet draw(int64_t vocabulary, int64_t samples, int64_t length, uint64_t seed) {
  Rng rng(3, "text");
  std::vector<int32_t> text;
  for (int64_t t = 0; t < kTextTokens; ++t)
    text.push_back(static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocabulary))));
  SampleSet s;
  s.options.samples = samples;
  s.options.length = length;
  s.options.seed = seed;
  s.places = draw_windows(kTextTokens, s.options, "random tokens");
  for (const SamplePlace& p : s.places)
    s.ids.insert(s.ids.end(), text.begin() + p.offset, text.begin() + p.offset + length);
  std::string words;
  for (const int32_t id : s.ids)
    words += std::to_string(id) + " ";
  s.digest = sha256_hex(words);
  s.text_name = "random tokens";
  return s;
}

inline Matrix decode(const PipelineFactory& f, const QuantizedMatrix& q) { return decode_matrix(f, q, kMatrixName, cpu()); }

inline bool same_bits(const Matrix& a, const Matrix& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && std::memcmp(a.data(), b.data(), sizeof(float) * static_cast<size_t>(a.size())) == 0;
}
inline bool same_planes(const QuantizedMatrix& a, const QuantizedMatrix& b) {
  if (a.planes.size() != b.planes.size()) return false;
  for (size_t i = 0; i < a.planes.size(); ++i)
    if (a.planes[i].name != b.planes[i].name || a.planes[i].bytes != b.planes[i].bytes) return false;
  return true;
}
inline const StoredPlane* plane(const QuantizedMatrix& q, const std::string& name) {
  for (const StoredPlane& p : q.planes)
    if (p.name == name) return &p;
  return nullptr;
}
// The numbers of an F32 plane (reference numerics).
inline std::vector<float> numbers(const QuantizedMatrix& q, const std::string& name) {
  const StoredPlane* p = plane(q, name);
  if (p == nullptr || p->dtype != "F32") return {};
  std::vector<float> out(p->bytes.size() / sizeof(float));
  std::memcpy(out.data(), p->bytes.data(), p->bytes.size());
  return out;
}

}  // namespace sage::test
