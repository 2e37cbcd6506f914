#include "strategies/saliency/random.h"

#include "strategies/saliency/cuts.h"

namespace sage {
namespace {

class Scores final : public SaliencyScores {
 public:
  Scores(int64_t rows, int64_t cols, Rng rng) : rows_(rows), cols_(cols), rng_(rng) {}

  SaliencyMask select(const Cut& cut) const override {
    const double ratio = saliency::ratio_of(cut, RandomSaliency::kName);
    const int64_t n = rows_ * cols_;
    const int64_t keep = ratio == 0.0 || n == 0 ? 0 : n - 1 - saliency::rank_of(ratio, n);
    if (keep == 0) return SaliencyMask::none(rows_, cols_);
    BitMask bits(rows_, cols_);
    Rng rng = rng_;  // every call replays the same stream: a larger set starts with a smaller one
    for (int64_t left = keep; left > 0;) {
      const int64_t at = static_cast<int64_t>(rng.below(static_cast<uint64_t>(n)));
      if (bits.test(at / cols_, at % cols_)) continue;
      bits.set(at / cols_, at % cols_);
      --left;
    }
    return SaliencyMask::elements(std::move(bits));
  }

 private:
  int64_t rows_, cols_;
  Rng rng_;
};

}  // namespace

std::unique_ptr<SaliencyScores> RandomSaliency::score(const BlockContext& ctx) const {
  return std::make_unique<Scores>(ctx.weights.rows, ctx.weights.cols, ctx.rng("random-saliency"));
}

}  // namespace sage
