#include "strategies/quantizer/residual_binary.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/tensor/owned.h"
#include "core/tensor/units.h"
#include "strategies/quantizer/finite.h"
#include "strategies/quantizer/place_plane.h"
#include "strategies/quantizer/stored.h"
#include "strategies/quantizer/ternary_sign.h"

namespace sage {
namespace {

constexpr const char* kScales = "residual_scales";
constexpr const char* kMeans = "residual_means";
std::string signs_name(int order) { return "residual_signs_" + std::to_string(order + 1); }

using Symbols = std::array<uint8_t, ResidualBinary::kMaxOrder>;

// The one place that says what a weight becomes; coding and decoding both end here.
inline float value_of(const Symbols& s, const ResidualLevels& u, int order, bool merged) {
  float v = u.mean[0] + signed_value(u.scale[0], s[0]);
  for (int o = 1; o < order; ++o)
    v += merged ? signed_value(u.scale[static_cast<size_t>(o)], s[static_cast<size_t>(o)])
                : u.mean[static_cast<size_t>(o)] + signed_value(u.scale[static_cast<size_t>(o)], s[static_cast<size_t>(o)]);
  return v;
}

ScaleUnits units_of(const GroupMap& groups) { return ScaleUnits("residual_binary", groups, true, true); }
int means_per_unit(const ResidualBinary::Params& p) { return !p.mean ? 0 : p.merge_means ? 1 : p.order; }

class FittedResidual final : public FittedQuantizer {
 public:
  FittedResidual(const ResidualBinary::Params& p, const BlockContext& ctx, const Selection& own, const GroupMap& groups)
      : p_(p), merged_(p.merge_means), index_(own), units_(units_of(groups)), levels_(static_cast<size_t>(units_.count())) {
    const ResidualRule rule = {p.order, p.mean, p.merge_means, p.keep_zero, ctx.numerics == Numerics::kPacked};
    squared_error_ = ctx.backend.residual_binarize(ctx.weights, own, units_, rule, levels_);
    for (const ResidualLevels& u : levels_)
      used_count_ += u.count > 0 ? 1 : 0;
    expect_finite(squared_error_, ctx.id, "residual_binary");
  }

  double squared_error() const override { return squared_error_; }
  PaperCount paper_count() const override { return {static_cast<double>(index_.total()) * p_.order, 0}; }
  std::vector<SymbolCount> symbol_counts() const override {
    return std::vector<SymbolCount>(static_cast<size_t>(p_.order), {sign_alphabet(p_.keep_zero), index_.total(), {}, Role::kSign});
  }
  int64_t number_count() const override { return used_count_ * (p_.order + means_per_unit(p_)); }

  void start_coding() override {
    for (int o = 0; o < p_.order; ++o)
      symbols_[static_cast<size_t>(o)].resize(static_cast<size_t>(index_.total()));
  }
  void encode(WeightView w, int64_t first_row, int64_t first, View<float> out) override {
    const int64_t last = first + w.cols;
#pragma omp parallel if (w.size() > kParallelWeights)
    {
      std::vector<uint32_t> unit(static_cast<size_t>(w.cols));
#pragma omp for schedule(static)
      for (int64_t t = 0; t < w.rows; ++t) {
        units_.fill(first_row + t, first, last, unit.data());
        const float* row = w.row(t) - first;
        float* to = out.row(t) - first;
        index_.visit(first_row + t, first, last, [&](int64_t j, int64_t k) {
          const uint32_t u = unit[static_cast<size_t>(j - first)];
          const Symbols s = code(row[j], u);
          for (int o = 0; o < p_.order; ++o)
            symbols_[static_cast<size_t>(o)][static_cast<size_t>(k)] = s[static_cast<size_t>(o)];
          to[j] = value_of(s, levels_[u], p_.order, merged_);
        });
      }
    }
  }

  std::optional<ElementCode> element_code() override {
    element_parameters_.clear();
    for (size_t u = 0; u < levels_.size(); ++u)
      for (const auto& numbers : {levels_[u].scale, levels_[u].center, levels_[u].mean})
        element_parameters_.insert(element_parameters_.end(), numbers.begin(), numbers.begin() + p_.order);
    ElementCode code;
    code.planes = p_.order;
    code.keep_zero = p_.keep_zero;
    code.merged = merged_;
    code.own = index_.own();
    code.units = &units_;
    code.parameters = element_parameters_;
    return code;
  }
  void place_symbols(std::span<const View<const uint8_t>> planes, int64_t first_column) override {
    for (size_t o = 0; o < static_cast<size_t>(p_.order); ++o)
      place_plane(index_, planes[o], first_column, symbols_[o]);
  }

  void emit(PlaneWriter& writer) override {
    if (index_.total() == 0) return;
    std::vector<float> scales, means;
    for (const ResidualLevels& u : levels_)
      if (u.count > 0) {
        scales.insert(scales.end(), u.scale.begin(), u.scale.begin() + p_.order);
        means.insert(means.end(), u.mean.begin(), u.mean.begin() + means_per_unit(p_));
      }
    writer.numbers(kScales, Role::kScale, scales);
    if (p_.mean) writer.numbers(kMeans, Role::kOffset, means);
    for (int o = 0; o < p_.order; ++o)
      writer.symbols(signs_name(o), Role::kSign, sign_alphabet(p_.keep_zero), std::move(symbols_[static_cast<size_t>(o)]));
  }

 private:
  Symbols code(float x, uint32_t u) const {
    Symbols s{};
    float sum = 0;
    for (size_t o = 0; o < static_cast<size_t>(p_.order); ++o) {
      const float mean = levels_[u].center[o];
      s[o] = sign_symbol((x - sum) - mean, p_.keep_zero);
      sum += mean + signed_value(levels_[u].scale[o], s[o]);
    }
    return s;
  }

  ResidualBinary::Params p_;
  bool merged_;
  OwnedIndex index_;
  ScaleUnits units_;
  std::vector<ResidualLevels> levels_;
  int64_t used_count_ = 0;  // units that own weights
  double squared_error_ = 0;
  std::array<std::vector<uint8_t>, ResidualBinary::kMaxOrder> symbols_;
  std::vector<float> element_parameters_;  // of element_code()
};

}  // namespace

std::unique_ptr<FittedQuantizer> ResidualBinary::fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                                     double) const {
  return std::make_unique<FittedResidual>(p_, ctx, own, groups);
}

void ResidualBinary::decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const {
  const OwnedIndex index(own);
  if (index.total() == 0) return;
  const ScaleUnits units = units_of(groups);
  std::vector<ResidualLevels> levels(static_cast<size_t>(units.count()));
  std::vector<uint8_t> used(levels.size());
  const int64_t rows = index.rows(), cols = index.cols();
#pragma omp parallel if (out.size() > kParallelWeights)
  {
    std::vector<uint32_t> unit(static_cast<size_t>(cols));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < rows; ++i) {
      units.fill(i, 0, cols, unit.data());
      index.visit(i, 0, cols, [&](int64_t j, int64_t) { used[unit[static_cast<size_t>(j)]] = 1; });
    }
  }
  int64_t count = 0;
  for (uint8_t u : used)
    count += u;
  const int means = means_per_unit(p_);
  const std::span<const float> scale = reader.numbers(kScales, count * p_.order);
  const std::span<const float> mean = p_.mean ? reader.numbers(kMeans, count * means) : std::span<const float>();
  std::array<std::span<const uint8_t>, kMaxOrder> signs;
  for (int o = 0; o < p_.order; ++o)
    signs[static_cast<size_t>(o)] = reader.symbols(signs_name(o), index.total(), sign_alphabet(p_.keep_zero));
  int64_t at = 0;
  for (size_t u = 0; u < levels.size(); ++u)
    if (used[u] != 0) {
      std::copy_n(scale.begin() + at * p_.order, p_.order, levels[u].scale.begin());
      if (p_.mean) std::copy_n(mean.begin() + at * means, means, levels[u].mean.begin());
      ++at;
    }
#pragma omp parallel if (out.size() > kParallelWeights)
  {
    std::vector<uint32_t> unit(static_cast<size_t>(cols));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < rows; ++i) {
      units.fill(i, 0, cols, unit.data());
      index.visit(i, 0, cols, [&](int64_t j, int64_t k) {
        Symbols s{};
        for (int o = 0; o < p_.order; ++o)
          s[static_cast<size_t>(o)] = signs[static_cast<size_t>(o)][static_cast<size_t>(k)];
        out(i, j) = value_of(s, levels[unit[static_cast<size_t>(j)]], p_.order, p_.merge_means);
      });
    }
  }
}

}  // namespace sage
