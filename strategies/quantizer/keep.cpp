#include "strategies/quantizer/keep.h"

#include "strategies/quantizer/finite.h"
#include "core/tensor/owned.h"
#include "strategies/quantizer/stored.h"

namespace sage {
namespace {

constexpr const char* kWeights = "kept_weights";

class FittedKeep final : public FittedQuantizer {
 public:
  FittedKeep(const BlockContext& ctx, const Selection& own) : numerics_(ctx.numerics), index_(own) {
    std::vector<double> row_error(static_cast<size_t>(index_.rows()));
#pragma omp parallel for schedule(static) if (ctx.weights.size() > kParallelWeights)
    for (int64_t i = 0; i < index_.rows(); ++i) {
      const float* w = ctx.weights.row(i);
      double error = 0;
      index_.visit(i, 0, index_.cols(), [&](int64_t j, int64_t) {
        const double e = static_cast<double>(w[j]) - stored_number(w[j], numerics_);
        error += e * e;
      });
      row_error[static_cast<size_t>(i)] = error;
    }
    for (double e : row_error)
      squared_error_ += e;
    expect_finite(squared_error_, ctx.id, "keep");
  }

  double squared_error() const override { return squared_error_; }
  PaperCount paper_count() const override {
    return {static_cast<double>(index_.total()) * (numerics_ == Numerics::kPacked ? 16 : 32), 0};
  }
  std::vector<SymbolCount> symbol_counts() const override { return {}; }
  int64_t number_count() const override { return index_.total(); }

  void start_coding() override { kept_.resize(static_cast<size_t>(index_.total())); }
  void encode(WeightView w, int64_t first_row, int64_t first, View<float> out) override {
#pragma omp parallel for schedule(static) if (w.size() > kParallelWeights)
    for (int64_t t = 0; t < w.rows; ++t)
      index_.visit(first_row + t, first, first + w.cols, [&](int64_t j, int64_t k) {
        out(t, j - first) = kept_[static_cast<size_t>(k)] = stored_number(w(t, j - first), numerics_);
      });
  }
  void emit(PlaneWriter& writer) override {
    if (index_.total() > 0) writer.numbers(kWeights, Role::kCode, kept_);
  }

 private:
  Numerics numerics_;
  OwnedIndex index_;
  double squared_error_ = 0;
  std::vector<float> kept_;
};

}  // namespace

std::unique_ptr<FittedQuantizer> Keep::fit(const BlockContext& ctx, const Selection& own, const GroupMap&, double) const {
  return std::make_unique<FittedKeep>(ctx, own);
}

void Keep::decode(PlaneReader& reader, const Selection& own, const GroupMap&, View<float> out) const {
  const OwnedIndex index(own);
  if (index.total() == 0) return;
  const std::span<const float> kept = reader.numbers(kWeights, index.total());
#pragma omp parallel for schedule(static) if (out.size() > kParallelWeights)
  for (int64_t i = 0; i < index.rows(); ++i)
    index.visit(i, 0, index.cols(), [&](int64_t j, int64_t k) { out(i, j) = kept[static_cast<size_t>(k)]; });
}

}  // namespace sage
