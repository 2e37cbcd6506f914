#include "kernels/cpu/cpu_backend.h"

#include <cblas.h>

#include "kernels/reference/reference_backend.h"
#include "kernels/shapes.h"

namespace sage {
namespace {

class CpuBackend final : public Backend {
 public:
  std::string name() const override { return "cpu"; }
  std::string description() const override { return "OpenBLAS"; }
  MatrixStats matrix_stats(WeightView w) const override { return r_->matrix_stats(w); }
  float deviation_order_statistic(WeightView w, float c, int64_t k) const override { return r_->deviation_order_statistic(w, c, k); }
  BitMask deviation_above(WeightView w, float c, float t) const override { return r_->deviation_above(w, c, t); }
  void row_sq_sums(WeightView w, std::span<double> o) const override { r_->row_sq_sums(w, o); }
  void column_sq_sums(WeightView w, std::span<double> o) const override { r_->column_sq_sums(w, o); }
  MagnitudeHistogram magnitude_histogram(WeightView w, const Selection& s, int shift) const override { return r_->magnitude_histogram(w, s, shift); }
  void assign_by_magnitude(WeightView w, std::span<const float> c, uint8_t* o) const override { r_->assign_by_magnitude(w, c, o); }
  void group_moments(WeightView w, const Selection& s, const GroupMap& g, std::span<Moments> o) const override { r_->group_moments(w, s, g, o); }
  double squared_distance(WeightView a, WeightView b) const override { return r_->squared_distance(a, b); }
  void hadamard_rows(View<float> w) const override { r_->hadamard_rows(w); }
  void linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) const override {
    shapes::linear(x, w, bias, y);
    if (y.size() == 0) return;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(x.rows), static_cast<int>(w.rows), static_cast<int>(x.cols), 1.0f,
                x.data, static_cast<int>(x.ld), w.data, static_cast<int>(w.ld), 0.0f, y.data, static_cast<int>(y.ld));
    if (!bias.empty())
      for (int64_t t = 0; t < y.rows; ++t)
        for (int64_t j = 0; j < y.cols; ++j) y(t, j) += bias[static_cast<size_t>(j)];
  }
  void rms_norm(WeightView x, std::span<const float> g, float eps, View<float> y) const override { r_->rms_norm(x, g, eps, y); }
  void layer_norm(WeightView x, std::span<const float> g, std::span<const float> b, float eps, View<float> y) const override { r_->layer_norm(x, g, b, eps, y); }
  void rotary(View<float> x, int heads, const RotaryTable& t, int64_t p) const override { r_->rotary(x, heads, t, p); }
  void attention(WeightView q, WeightView k, WeightView v, const AttentionShape& s, View<float> o) const override { r_->attention(q, k, v, s, o); }
  void silu_mul(WeightView g, WeightView u, View<float> o) const override { r_->silu_mul(g, u, o); }
  void relu(View<float> x) const override { r_->relu(x); }
  void add(View<float> x, WeightView y) const override { r_->add(x, y); }
  void head_nll(WeightView h, WeightView w, std::span<const int32_t> t, std::span<double> n, std::span<int32_t> top) const override { r_->head_nll(h, w, t, n, top); }
  void head_divergence(WeightView hr, WeightView wr, WeightView h, WeightView w, std::span<double> kl, std::span<uint8_t> a) const override { r_->head_divergence(hr, wr, h, w, kl, a); }

 private:
  std::unique_ptr<Backend> r_ = make_reference_backend();
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const std::string&) { return std::make_unique<CpuBackend>(); }
std::vector<std::string> cpu_variants() { return {}; }

}  // namespace sage
