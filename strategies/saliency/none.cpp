#include "strategies/saliency/none.h"

namespace sage {
namespace {

class Scores final : public SaliencyScores {
 public:
  Scores(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}
  SaliencyMask select(const Cut&) const override { return SaliencyMask::none(rows_, cols_); }

 private:
  int64_t rows_, cols_;
};

}  // namespace

std::unique_ptr<SaliencyScores> NoSaliency::score(const BlockContext& ctx) const {
  return std::make_unique<Scores>(ctx.weights.rows, ctx.weights.cols);
}

}  // namespace sage
