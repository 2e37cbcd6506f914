#include "strategies/quantizer/prune.h"

#include "strategies/quantizer/finite.h"
#include "core/tensor/owned.h"

namespace sage {
namespace {

class FittedPrune final : public FittedQuantizer {
 public:
  FittedPrune(const BlockContext& ctx, const Selection& own) : index_(own) {
    std::vector<double> row_error(static_cast<size_t>(index_.rows()));
#pragma omp parallel for schedule(static) if (ctx.weights.size() > kParallelWeights)
    for (int64_t i = 0; i < index_.rows(); ++i) {
      const float* w = ctx.weights.row(i);
      double error = 0;
      index_.visit(i, 0, index_.cols(), [&](int64_t j, int64_t) { error += static_cast<double>(w[j]) * w[j]; });
      row_error[static_cast<size_t>(i)] = error;
    }
    for (double e : row_error)
      squared_error_ += e;
    expect_finite(squared_error_, ctx.id, "prune");
  }

  double squared_error() const override { return squared_error_; }
  PaperCount paper_count() const override { return {}; }
  std::vector<SymbolCount> symbol_counts() const override { return {}; }
  int64_t number_count() const override { return 0; }
  void start_coding() override {}
  void encode(WeightView w, int64_t first_row, int64_t first, View<float> out) override {
    for (int64_t t = 0; t < w.rows; ++t)
      index_.visit(first_row + t, first, first + w.cols, [&](int64_t j, int64_t) { out(t, j - first) = 0; });
  }
  void emit(PlaneWriter&) override {}

 private:
  OwnedIndex index_;
  double squared_error_ = 0;
};

}  // namespace

std::unique_ptr<FittedQuantizer> Prune::fit(const BlockContext& ctx, const Selection& own, const GroupMap&, double) const {
  return std::make_unique<FittedPrune>(ctx, own);
}

void Prune::decode(PlaneReader&, const Selection& own, const GroupMap&, View<float> out) const {
  const OwnedIndex index(own);
  for (int64_t i = 0; i < index.rows(); ++i)
    index.visit(i, 0, index.cols(), [&](int64_t j, int64_t) { out(i, j) = 0; });
}

}  // namespace sage
