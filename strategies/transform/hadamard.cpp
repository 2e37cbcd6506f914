#include "strategies/transform/hadamard.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "core/util/random.h"

namespace sage {
namespace {

constexpr const char* kSeed = "hadamard_seed";
constexpr int64_t kTileColumns = 256;

enum class Direction { kForward, kInverse };

std::vector<float> random_signs(int64_t seed, const char* stream, int64_t n) {
  Rng rng(static_cast<uint64_t>(seed), stream);
  std::vector<float> signs(static_cast<size_t>(n));
  uint64_t bits = 0;
  for (int64_t j = 0; j < n; ++j) {
    if (j % 64 == 0) bits = rng.next_u64();
    signs[static_cast<size_t>(j)] = (bits >> (j % 64)) & 1 ? -1.0f : 1.0f;
  }
  return signs;
}

void flip(View<float> w, const std::vector<float>& signs) {
#pragma omp parallel for schedule(static) if (w.size() > 1 << 14)
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j)
      w(i, j) *= signs[static_cast<size_t>(j)];
}

// x -> R x for every row x of w, or x -> R^T x.
class Rotation {
 public:
  Rotation(int64_t seed, const std::string& side, int64_t n)
      : n_(n),
        p_(static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(n)))),
        left_(random_signs(seed, (side + "-first").c_str(), p_)),
        right_(random_signs(seed, (side + "-second").c_str(), p_ < n ? p_ : 0)) {}

  void rows(View<float> w, Direction direction, const Backend& backend) const {
    const View<float> left = w.columns(0, p_), right = w.columns(n_ - p_, n_);
    if (direction == Direction::kForward) {
      flip(left, left_);
      backend.hadamard_rows(left);
      if (p_ == n_) return;
      flip(right, right_);
      backend.hadamard_rows(right);
    } else {
      if (p_ < n_) {
        backend.hadamard_rows(right);
        flip(right, right_);
      }
      backend.hadamard_rows(left);
      flip(left, left_);
    }
  }
  // The same for every column of w, a tile of columns at a time.
  void columns(View<float> w, Direction direction, const Backend& backend) const {
    Matrix tile(std::min(kTileColumns, w.cols), w.rows);
    for (int64_t first = 0; first < w.cols; first += kTileColumns) {
      const int64_t last = std::min(first + kTileColumns, w.cols);
      const View<float> t = tile.view().row_range(0, last - first);
      transpose(w.columns(first, last), t);
      rows(t, direction, backend);
      transpose(t, w.columns(first, last));
    }
  }

 private:
  static void transpose(View<const float> from, View<float> to) {
    constexpr int64_t kBlock = 16;
#pragma omp parallel for schedule(static) if (from.size() > 1 << 14)
    for (int64_t i0 = 0; i0 < from.rows; i0 += kBlock)
      for (int64_t j0 = 0; j0 < from.cols; j0 += kBlock)
        for (int64_t i = i0; i < std::min(i0 + kBlock, from.rows); ++i)
          for (int64_t j = j0; j < std::min(j0 + kBlock, from.cols); ++j)
            to(j, i) = from(i, j);
  }
  int64_t n_, p_;
  std::vector<float> left_, right_;
};

void rotate(View<float> w, int64_t seed, RotatedSide side, Direction direction, const Backend& backend) {
  if (w.size() == 0) return;
  if (side != RotatedSide::kOutput) Rotation(seed, "input", w.cols).rows(w, direction, backend);
  if (side != RotatedSide::kInput) Rotation(seed, "output", w.rows).columns(w, direction, backend);
}

class FittedHadamard final : public FittedTransform {
 public:
  FittedHadamard(RotatedSide side, int64_t seed) : side_(side), seed_(seed) {}
  void apply(View<float> w, const Backend& backend) const override { rotate(w, seed_, side_, Direction::kForward, backend); }
  // Inputs turn with the rows of W: H' = R H R^T.
  void apply_to_gram(View<float> gram, const Backend& backend) const override {
    if (side_ == RotatedSide::kOutput) return;
    const Rotation rotation(seed_, "input", gram.cols);
    rotation.rows(gram, Direction::kForward, backend);
    rotation.columns(gram, Direction::kForward, backend);
  }
  void emit(PlaneWriter& writer) const override { writer.integer(kSeed, seed_); }
  int64_t number_count() const override { return 0; }

 private:
  RotatedSide side_;
  int64_t seed_;
};

}  // namespace

std::unique_ptr<FittedTransform> HadamardTransform::fit(const BlockContext& whole_matrix) const {
  // 32 bits keep the header short; collisions between matrices do no harm.
  return std::make_unique<FittedHadamard>(p_.side, static_cast<int64_t>(whole_matrix.rng("hadamard").next_u64() >> 32));
}

void HadamardTransform::invert(PlaneReader& reader, View<float> w, const Backend& backend) const {
  rotate(w, reader.integer(kSeed, 0, std::numeric_limits<uint32_t>::max()), p_.side, Direction::kInverse, backend);
}

}  // namespace sage
